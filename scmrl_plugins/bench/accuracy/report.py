"""The results of a grid by method: JSON, Markdown with a table per metric, and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.accuracy import plot
from scmrl_plugins.bench.spread import over_seeds
from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.disturbance import CORRUPTIONS, Disturbance
from scmrl_plugins.core.evaluation.metrics import METRICS, Metric
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files

PAGE = "results.md"


def summarize(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds, by method and condition; costs and the environment.

    ``conditions`` of a method has the accuracy, ``metrics`` every metric that all results have: those that were
    made before a metric was added lack it.
    """
    tested = [condition for result in results for condition in result["conditions"].values()]
    names = [name for name in METRICS if all(name in metrics.scalars(condition) for condition in tested)]
    first = results[0]
    return {
        "methods": {
            method: _method([result for result in results if result["method"] == method], names)
            for method in dict.fromkeys(result["method"] for result in results)
        },
        "samples": first["n"],
        "device": first["device"],
        "environment": first["environment"],
        "conditions": {
            name: {key: value for key, value in condition.items() if key in CORRUPTIONS}
            for name, condition in first["conditions"].items()
        },
    }


def _method(results: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    by_metric = {
        name: {
            condition: over_seeds([result["conditions"][condition][name] for result in results])
            for condition in results[0]["conditions"]
        }
        for name in names
    }
    return {
        "protocol": results[0]["protocol"],
        "seeds": [result["seed"] for result in results],
        "conditions": by_metric["accuracy"],
        "metrics": by_metric,
        "parameters": results[0]["parameters"],
        "operations": results[0]["operations"],
        "firing_rate": over_seeds([result["firing_rate"] for result in results]),
        "energy_joules": over_seeds([result["energy_joules"] for result in results]),
        "dead_layers": sorted({layer for result in results for layer in result["dead_layers"]}),
    }


def write(summary: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``results.json``, ``results.md`` and ``results.png`` to ``out``."""
    files.write_json(out / "results.json", {"command": command, **summary})
    files.write_text(out / PAGE, markdown(summary, command))
    with files.replacing(out / "results.png") as temporary:
        plot.figure(summary).savefig(temporary, format="png", dpi=120)


def markdown(summary: Mapping[str, Any], command: str) -> str:
    """A table per metric, the costs of each method, and notes on how they were made."""
    methods = summary["methods"]
    names = next(iter(methods.values()))["metrics"]
    lines = [
        f"Results on {summary['samples']} test samples, mean ± standard deviation over seeds.",
        *(line for name in names for line in _table(METRICS[name], summary)),
        *_costs(methods),
        "",
    ]
    for name, condition in summary["conditions"].items():
        if meaning := str(Disturbance.model_validate(condition)):
            lines.append(f"- `{name}`: {meaning}")
    protocols = {method["protocol"] for method in methods.values()}
    lines += [f"- {protocol} protocol: {PROTOCOLS[protocol]}" for protocol in sorted(protocols)]
    seeds = sorted({seed for method in methods.values() for seed in method["seeds"]})
    lines += [
        f"- seeds {', '.join(map(str, seeds))}; operations are multiply-accumulates of a dense network per sample",
        "- energy is an estimate, 4.6 pJ per multiply-accumulate and 0.9 pJ per accumulate, arithmetic only",
        f"- {environment.provenance(command, summary['device'], summary['environment'])}",
    ]
    for name, method in methods.items():
        if method["dead_layers"]:
            lines.append(f"- {name}: neuron layers that never fired: {', '.join(method['dead_layers'])}")
    return "\n".join(lines) + "\n"


def _table(metric: Metric, summary: Mapping[str, Any]) -> list[str]:
    conditions = list(summary["conditions"])
    percent = metric.format.endswith("%")
    lines = [
        "",
        f"{metric.label.capitalize()}{', %' if percent else ''}:",
        "",
        f"| method | {' | '.join(conditions)} |",
        "|---|" + "---:|" * len(conditions),
    ]
    for name, method in summary["methods"].items():
        cells = [_spread(method["metrics"][metric.name][condition], percent) for condition in conditions]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _spread(values: Mapping[str, Any], percent: bool) -> str:
    if values["mean"] is None:
        return ""
    scale, digits = (100, 1) if percent else (1, 3)
    deviation = "" if values["std"] is None else f" ± {scale * values['std']:.{digits}f}"
    return f"{scale * values['mean']:.{digits}f}{deviation}"


def _costs(methods: Mapping[str, Any]) -> list[str]:
    return [
        "",
        "Costs:",
        "",
        "| method | parameters | million operations | firing rate | energy, nJ |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {method['parameters']:,} | {method['operations'] / 1e6:.2f} "
            f"| {method['firing_rate']['mean']:.3f} | {method['energy_joules']['mean'] * 1e9:.1f} |"
            for name, method in methods.items()
        ),
    ]
