"""What a grid found: figures by method, as JSON, Markdown and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files


def summarize(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds, by method and condition, with costs and surroundings."""
    methods: dict[str, Any] = {}
    for name in dict.fromkeys(result["method"] for result in results):
        own = [result for result in results if result["method"] == name]
        methods[name] = {
            "protocol": own[0]["protocol"],
            "seeds": [result["seed"] for result in own],
            "conditions": {
                condition: _spread([result["conditions"][condition]["accuracy"] for result in own])
                for condition in own[0]["conditions"]
            },
            "parameters": own[0]["parameters"],
            "operations": own[0]["operations"],
            "firing_rate": _spread([result["firing_rate"] for result in own]),
            "energy_joules": _spread([result["energy_joules"] for result in own]),
            "dead_layers": sorted({layer for result in own for layer in result["dead_layers"]}),
        }
    first = results[0]
    return {
        "methods": methods,
        "samples": first["n"],
        "device": first["device"],
        "environment": first["environment"],
        "conditions": {
            name: {key: value for key, value in told.items() if key in ("noise", "occlusion", "dropped")}
            for name, told in first["conditions"].items()
        },
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": list(values)}


def write(summary: Mapping[str, Any], out: Path, command: str) -> None:
    """``results.json``, ``results.md`` and ``results.png`` in ``out``."""
    files.write_json(out / "results.json", {"command": command, **summary})
    files.write_text(out / "results.md", markdown(summary, command))
    with files.replacing(out / "results.png") as temporary:
        _figure(summary).savefig(temporary, format="png", dpi=120)


def markdown(summary: Mapping[str, Any], command: str) -> str:
    """The table, with what it was made by."""
    methods = summary["methods"]
    conditions = list(summary["conditions"])
    lines = [
        f"Accuracy in % on {summary['samples']} test samples, mean ± standard deviation over seeds. By method:",
        "",
        "| method | " + " | ".join(conditions) + " | parameters | million operations | firing rate | energy, nJ |",
        "|---|" + "---:|" * (len(conditions) + 4),
    ]
    for name, found in methods.items():
        figures = [_percent(found["conditions"][condition]) for condition in conditions]
        lines.append(
            f"| {name} | {' | '.join(figures)} | {found['parameters']:,} | {found['operations'] / 1e6:.2f} "
            f"| {found['firing_rate']['mean']:.3f} | {found['energy_joules']['mean'] * 1e9:.1f} |"
        )
    lines.append("")
    for name, told in summary["conditions"].items():
        if meaning := _meaning(told):
            lines.append(f"- `{name}`: {meaning}")
    protocols = {found["protocol"] for found in methods.values()}
    lines += [f"- {protocol} protocol: {PROTOCOLS[protocol]}" for protocol in sorted(protocols)]
    seeds = sorted({seed for found in methods.values() for seed in found["seeds"]})
    lines += [
        f"- seeds {', '.join(map(str, seeds))}; operations are multiply-accumulates a sample if each were done; "
        "energy is an estimate, 4.6 pJ a multiply-accumulate and 0.9 pJ an accumulate, arithmetic alone",
        f"- {environment.provenance(command, summary['device'], summary['environment'])}",
    ]
    for name, found in methods.items():
        if found["dead_layers"]:
            lines.append(f"- {name}: neuron layers that never fired: {', '.join(found['dead_layers'])}")
    return "\n".join(lines) + "\n"


def _percent(spread: Mapping[str, Any]) -> str:
    deviation = "" if spread["std"] is None else f" ± {100 * spread['std']:.1f}"
    return f"{100 * spread['mean']:.1f}{deviation}"


def _meaning(told: Mapping[str, Any]) -> str:
    parts = [f"{name} with noise at {ratio:g} dB" for name, ratio in told.get("noise", {}).items()]
    parts += [f"{share:.0%} of {name} hidden by a square" for name, share in told.get("occlusion", {}).items()]
    return ", ".join(parts + [f"{name} left out" for name in told.get("dropped", [])])


def _figure(summary: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    methods, conditions = summary["methods"], list(summary["conditions"])
    figure = Figure(
        figsize=(max(7.0, 1.1 * len(methods) * max(1, len(conditions) / 4)), 4.5), layout="constrained"
    )
    axes = figure.add_subplot()
    width = 0.8 / len(conditions)
    for place, condition in enumerate(conditions):
        spreads = [found["conditions"][condition] for found in methods.values()]
        axes.bar(
            [index - 0.4 + width * (place + 0.5) for index in range(len(methods))],
            [100 * spread["mean"] for spread in spreads],
            width * 0.92,
            yerr=[100 * (spread["std"] or 0.0) for spread in spreads],
            error_kw={"elinewidth": 1, "capsize": 2},
            label=condition,
        )
    axes.set_xticks(range(len(methods)), list(methods), rotation=25, ha="right")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(
        " and ".join(sorted({found["protocol"] for found in methods.values()})) + " protocol", loc="left"
    )
    axes.set_ylim(0, 100)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
