"""The results of a grid: JSON, Markdown with tables by task, and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.accuracy import plot, tables
from scmrl_plugins.bench.accuracy.front import ranking
from scmrl_plugins.bench.accuracy.summary import CONTROL
from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.evaluation.alone import METHODS
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files

PAGE = "results.md"
FRONT = "front.png"


def write(summary: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``results.json``, ``results.md``, ``results.png`` and, of networks, ``front.png`` to ``out``."""
    files.write_json(out / "results.json", {"command": command, **summary})
    files.write_text(out / PAGE, markdown(summary, command))
    drawn = {"results.png": plot.figure(summary)}
    if with_front(summary):
        drawn[FRONT] = plot.front(summary)
    for name, figure in drawn.items():
        with files.replacing(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def with_front(summary: Mapping[str, Any]) -> bool:
    """Whether a network has both an accuracy and an energy."""
    return any(entry.on_front for task in summary["tasks"].values() for entry in ranking(task))


def markdown(summary: Mapping[str, Any], command: str) -> str:
    """The tables of every task, and notes on how they were made."""
    lines = []
    if summary["cells"] < summary["expected"]:
        lines += [f"**{summary['cells']} of {summary['expected']} cells: the others are not made yet.**", ""]
    for name, task in summary["tasks"].items():
        lines += [f"## {name}", ""] if name else []
        lines += [f"Test accuracy in %, {tables.meaning(task)}:", "", *tables.accuracy(task), ""]
        if ranked := tables.ranked(task):
            front = "on the front: no other network is as accurate and takes as little energy"
            lines += [f"By accuracy without corruption; {front}:", "", *ranked, ""]
        for reference in summary["references"]:
            if compared := tables.versus(task, reference):
                lines += [
                    f"Difference from {reference} in points, on the same samples, ± half the 95 % interval; "
                    f"* p < 0.05 after Holm's correction for all comparisons of this table:",
                    "",
                    *compared,
                    "",
                ]
        if compared := tables.versus(task, CONTROL):
            lines += ["Gain over the own-fed control, trained alike, in points, as above:", "", *compared, ""]
        if crossing := tables.contribution(task):
            lines += [
                "Cross-modal contribution: the rate of the residual, the share of its variance that is due to the "
                "partner, and the change of accuracy in points with another sample's partner, with the mean of "
                "the interaction, and without it:",
                "",
                *crossing,
                "",
            ]
        if single := tables.alone(task):
            methods = "; ".join(f"{name}, {meaning}" for name, meaning in METHODS.items())
            lines += [f"Accuracy in % of what each modality says alone ({methods}):", "", *single, ""]
        if task["cluster"]:
            lines += [f"Accuracy of the worst {task['cluster']}, %:", "", *tables.worst(task), ""]
        lines += ["Macro F1, %:", "", *tables.metric(task, "macro_f1"), ""]
        if costs := tables.costs(task):
            lines += ["Costs per sample:", "", *costs, ""]
    if with_front(summary):
        lines += [f"![Accuracy and energy of the networks, and the front]({FRONT})", ""]
    return "\n".join([*lines, *_notes(summary, command)]) + "\n"


def _notes(summary: Mapping[str, Any], command: str) -> Iterator[str]:
    tasks = summary["tasks"].values()
    meanings = {
        name: str(Disturbance.model_validate(one)) for task in tasks for name, one in task["conditions"].items()
    }
    for name, meaning in meanings.items():
        if meaning:
            yield f"- `{name}`: {meaning}"
    methods = [(name, method) for task in tasks for name, method in task["methods"].items()]
    for protocol in sorted({method["protocol"] for _, method in methods if method["protocol"]}):
        yield f"- {protocol} protocol: {PROTOCOLS[protocol]}"
    repeated = {(cell["fold"], cell["seed"]) for _, method in methods for cell in method["cells"]}
    folds = sorted({fold for fold, _ in repeated if fold is not None})
    seeds = sorted({seed for _, seed in repeated})
    yield "- " + (f"folds {', '.join(map(str, folds))}; " if folds else "") + f"seeds {', '.join(map(str, seeds))}"
    if summary["tuning"]:
        yield f"- tuning: {summary['tuning']}"
    yield from _calibrations(methods)
    yield "- operations are multiply-accumulates of a dense network"
    yield (
        "- energy is an estimate, 4.6 pJ per multiply-accumulate and 0.9 pJ per accumulate, arithmetic only, over "
        "the complete test split; in 8-bit integers 0.23 and 0.03 pJ; with memory and addressing after Lemaire et "
        "al. 2022 (docs/energy.md)"
    )
    yield f"- {environment.provenance(command, summary['device'], summary['environment'])}"
    dead = {
        (name, layer) for name, method in methods if method["costs"] for layer in method["costs"]["dead_layers"]
    }
    for name in dict.fromkeys(name for name, _ in methods):
        if layers := sorted(layer for one, layer in dead if one == name):
            yield f"- {name}: neuron layers that never fired in one run or more: {', '.join(layers)}"


def _calibrations(methods: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """A note for each baseline that combines networks, with the limits of its temperatures over all cells."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, method in methods:
        for modality, spread in method["temperatures"].items():
            found.setdefault(name, {}).setdefault(modality, []).extend(spread["values"])
    for name, temperatures in found.items():
        limits = [
            f"{modality} {min(values):.2f} to {max(values):.2f}" for modality, values in temperatures.items()
        ]
        yield (
            f"- {name}: the networks with one modality are calibrated before their probabilities are combined, "
            f"each by one temperature, fitted to its clean validation split: {', '.join(limits)}"
        )
