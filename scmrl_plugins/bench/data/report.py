"""The results of ``scmrl bench data`` as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.data.compare import DECODED, STORED
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files

PAGE = "data.md"


def write(results: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``data.json`` and ``data.md`` to ``out``."""
    files.write_json(out / "data.json", {"command": command, **results})
    files.write_text(out / PAGE, markdown(results, command))


def markdown(results: Mapping[str, Any], command: str) -> str:
    """The tables, with notes on how they were made."""
    settings, memory = results["settings"], results["memory"]
    titles = {DECODED: "files decoded and transformed each time", STORED: "stored features"}
    machine = f"{results['hardware']['cpu']}, {results['hardware']['cores']} cores"
    lines = [
        f"An epoch of {results['samples']:,} training samples of `{settings['dataset']}` through the training "
        f"loader, augmentation included, {settings['repeats']} times in turns:",
        "",
        "| | least time | median | samples a second | of the median |",
        "|---|---:|---:|---:|---:|",
    ]
    for side, title in titles.items():
        seconds, rate = results["epochs"][side], results["samples_per_second"][side]
        lines.append(
            f"| {title} | {seconds['minimum']:.3g} s | {seconds['median']:.3g} s | {rate['best']:,.0f} "
            f"| {rate['median']:,.0f} |"
        )
    lines += [
        f"| ratio | {results['ratio']:.1f} | {results['median_ratio']:.1f} | | |",
        "",
        "Memory that a process has to itself before and while it loads batches, as many at both sizes:",
        "",
        "| training samples | features on disk | before | at the most |",
        "|---:|---:|---:|---:|",
        *(
            f"| {size['samples']:,} | {_bytes(size['stored'])} | {_bytes(size['before'])} "
            f"| {_bytes(size['private'])} |"
            for size in (memory["small"], memory["large"])
        ),
        "",
        f"- the batches of both are {'' if results['same_batches'] else 'NOT '}the same to the bit",
        f"- batch {settings['batch_size']}, {settings['workers']} workers, {settings['threads']} threads, image "
        f"size {settings['image_size']}",
        f"- {environment.provenance(command, machine, results['environment'])}",
    ]
    return "\n".join(lines) + "\n"


def _bytes(value: int | None) -> str:
    return "not known here" if value is None else f"{value / 2**20:.1f} MiB"
