"""The results of ``scmrl bench speed`` as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.speed.settings import BASELINE, OURS, SMALL
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.memory import format_bytes

PAGE = "speed.md"


def write(results: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``speed.json`` and ``speed.md`` to ``out``."""
    files.write_json(out / "speed.json", {"command": command, **results})
    files.write_text(out / PAGE, markdown(results, command))


def markdown(results: Mapping[str, Any], command: str) -> str:
    """The tables, with notes on how they were made."""
    settings, hardware, memory = results["settings"], results["hardware"], results["memory"]
    shape = ", ".join(map(str, results["kernel"]["shape"]))
    rounds, losses = settings["repeats"], results["first_losses"]
    lines = [
        f"Minimum time of {rounds} alternating rounds, and baseline / ours (higher is better):",
        "",
        "| | baseline | ours | ratio | of the medians |",
        "|---|---:|---:|---:|---:|",
        _times("training step", results["train"]),
        _times("inference", results["inference"]),
        _times("inference, ours with batch norm folded (`--optimize`)", results["inference_folded"]),
        _times(f"neuron alone, forward and backward, [{shape}]", results["kernel"]),
        f"| peak memory of a training step | {format_bytes(memory[BASELINE])} | {format_bytes(memory[OURS])} "
        f"| {_number(memory['ratio'])} | |",
        "",
        f"- convolutions and matrix products alone: {results['bare_ms']:.0f} ms; our training step takes "
        f"{results['times_bare']:.2f} times that",
        f"- compilation, once, in our first step: {results['compile_seconds']:.1f} s",
        f"- first loss {losses[BASELINE]:.6f} and {losses[OURS]:.6f}, ours channels first "
        f"{losses['ours_channels_first']:.6f}"
        + ("" if results["same_first_loss"] else ": differs from the baseline, so these are different models"),
        "- baseline: BrainCog's LIFNode stepped in Python, every layer on every step, channels first, no compiler",
        f"- fusion {settings['fusion']}, batch {settings['batch']}, {settings['steps']} steps, image size "
        f"{settings['image_size']}, {settings['dims']} dimensions, {settings['heads']} heads, "
        f"{results['parameters']:,} parameters, {settings['threads']} threads",
    ]
    lines += [f"- warning: {warning}" for warning in results["warnings"]]
    machine = (
        f"{hardware['device_name'] or hardware['device']}, {hardware['cpu']}, {hardware['cores']} cores, "
        f"{hardware['compiler'] or 'no compiler'}"
    )
    lines.append(f"- {environment.provenance(command, machine, results['environment'])}")
    if "scaling" in results:
        lines += _scaling(results["scaling"])
    if "profile" in results:
        lines += profile_lines(results["profile"])
    return "\n".join(lines) + "\n"


def _times(title: str, result: Mapping[str, Any]) -> str:
    baseline, ours = (_seconds(result[side]["minimum"]) for side in (BASELINE, OURS))
    return f"| {title} | {baseline} | {ours} | {result['ratio']:.2f} | {result['median_ratio']:.2f} |"


def _scaling(scaling: Mapping[str, Any]) -> list[str]:
    tables = {
        "time steps, training step": scaling["steps"],
        **{f"tokens, fusion {name} alone": rows for name, rows in scaling["tokens"].items()},
    }
    lines = [
        "",
        f"Cost by size, forward and backward, minimum time, neurons without the compiler (batch {SMALL.batch}, "
        f"{SMALL.dims} dimensions):",
        "",
        "| variable | size | time | ratio to previous size |",
        "|---|---:|---:|---:|",
    ]
    for title, table in tables.items():
        lines += [
            f"| {title} | {row['size']} | {_seconds(row['seconds'])} | {_number(row['ratio'])} |"
            for row in table["rows"]
        ]
    return lines


def profile_lines(profile: Mapping[str, Any]) -> list[str]:
    rows, kernels = profile["operators"], profile["kernels"]
    lines = [
        "",
        "Our training step by operator, excluding the operators it calls:",
        "",
        "| operator | calls | time | share |",
        "|---|---:|---:|---:|",
        *(
            f"| `{row['operator']}` | {row['calls']} | {_seconds(row['ms'] / 1e3)} | {row['share']:.1%} |"
            for row in rows
        ),
    ]
    if kernels is not None:
        lines += [
            "",
            f"Kernels of the GPU in a training step: {kernels['count']:,}, {_seconds(kernels['ms'] / 1e3)} of "
            f"work, {kernels['tensor_cores']:.0%} of it on tensor cores, judging by their names.",
        ]
    return lines


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
