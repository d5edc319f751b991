"""The results of ``scmrl bench data`` as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.data.compare import DECODED, STORED
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.memory import format_bytes

PAGE = "data.md"


def write(results: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``data.json`` and ``data.md`` to ``out``."""
    files.write_json(out / "data.json", {"command": command, **results})
    files.write_text(out / PAGE, markdown(results, command))


def markdown(results: Mapping[str, Any], command: str) -> str:
    """The tables, with notes on how they were made."""
    settings, memory = results["settings"], results["memory"]
    titles = {DECODED: "files decoded and transformed every time", STORED: "stored features"}
    machine = f"{results['hardware']['cpu']}, {results['hardware']['cores']} cores"
    lines = [
        f"An epoch of {results['samples']:,} training samples of `{settings['dataset']}` through the training "
        f"loader, augmentation included, {settings['repeats']} times alternately:",
        "",
        "| | minimum time | median | samples per second | at the median |",
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
        "Private memory of a process before and while it loads batches, the same number at both sizes:",
        "",
        "| training samples | features on disk | before | peak |",
        "|---:|---:|---:|---:|",
        *(
            f"| {size['samples']:,} | {format_bytes(size['stored'])} | {format_bytes(size['before'])} "
            f"| {format_bytes(size['private'])} |"
            for size in (memory["small"], memory["large"])
        ),
        "",
        f"- the batches of both are {'' if results['same_batches'] else 'NOT '}identical",
        f"- batch {settings['batch_size']}, {settings['workers']} workers, {settings['threads']} threads, image "
        f"size {settings['image_size']}",
        f"- {environment.provenance(command, machine, results['environment'])}",
    ]
    return "\n".join(lines) + "\n"
