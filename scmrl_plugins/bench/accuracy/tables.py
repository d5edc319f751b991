"""The tables of a task's results in Markdown, for the report and for documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scmrl_plugins.bench.accuracy.front import ranking
from scmrl_plugins.core.evaluation.metrics import METRICS
from scmrl_plugins.core.interfaces import MODALITIES

Task = Mapping[str, Any]


def meaning(task: Task) -> str:
    """What the numbers after the sign ± are, for the line above a table."""
    cells = max(len(method["cells"]) for method in task["methods"].values())
    by = f", clustered by {task['cluster']}" if task["cluster"] else " over folds and seeds"
    return f"{task['samples']} samples in each of {cells} repetitions, ± half the 95 % interval{by}"


def named(task: Task, kind: str, *of: str) -> list[str]:
    """The table of a kind, such as ``accuracy``, ``worst`` or ``versus METHOD``, or of a metric."""
    table: dict[str, Callable[..., list[str]]] = {
        "ranking": ranked,
        "accuracy": accuracy,
        "alone": alone,
        "worst": worst,
        "costs": costs,
        "contribution": contribution,
        "versus": versus,
    }
    return table[kind](task, *of) if kind in table else metric(task, kind)


def ranked(task: Task) -> list[str]:
    """The methods by accuracy without corruption, with their energy; empty if none was tested so.

    Those on the front of accuracy and energy are marked.
    """
    lines = [
        f"| {number} | {entry.method} | {_percent(entry.accuracy)} "
        f"| {'' if entry.joules is None else f'{entry.joules * 1e9:.1f}'} | {'yes' if entry.on_front else ''} |"
        for number, entry in enumerate(ranking(task), 1)
    ]
    head = ["| rank | method | accuracy, % | energy, nJ | on the front |", "|---:|---|---:|---:|---|"]
    return [*head, *lines] if lines else []


def accuracy(task: Task) -> list[str]:
    """The accuracy in %, methods by conditions, with half the width of its interval."""
    return _by_condition(task, lambda tested: _percent(tested["accuracy"]))


def metric(task: Task, name: str) -> list[str]:
    """The mean of a metric, methods by conditions."""
    percent = METRICS[name].format.endswith("%")

    def cell(tested: Mapping[str, Any]) -> str:
        value = tested["metrics"].get(name, {"mean": None})["mean"]
        return "" if value is None else f"{100 * value:.1f}" if percent else f"{value:.3f}"

    return _by_condition(task, cell)


def alone(task: Task) -> list[str]:
    """The accuracy in % of what each modality says alone, by method and condition; empty if none was measured."""
    lines = []
    for name, method in task["methods"].items():
        for condition in task["conditions"]:
            tested = method["conditions"].get(condition, {})
            if found := tested.get("alone_method"):
                values = [f"{100 * tested['metrics'][f'{one}_alone']['mean']:.1f}" for one in MODALITIES]
                lines.append(f"| {name} | {condition} | {' | '.join(values)} | {found} |")
    return ["| method | condition | audio | visual | by |", "|---|---|---:|---:|---|", *lines] if lines else []


def worst(task: Task) -> list[str]:
    """The accuracy of the group with the lowest one in %, methods by conditions."""
    return _by_condition(
        task, lambda tested: f"{100 * tested['worst']['accuracy']:.1f}" if tested["worst"] else ""
    )


def versus(task: Task, reference: str) -> list[str]:
    """The paired differences from a method in points, methods by conditions; empty if there are none."""

    def cell(tested: Mapping[str, Any]) -> str:
        found = tested["versus"].get(reference)
        if found is None:
            return ""
        return f"{_percent(found, sign='+')}{'*' if found['p_holm'] < 0.05 else ''}"

    rows = {name: method for name, method in task["methods"].items() if name != reference}
    if not any(reference in one["versus"] for method in rows.values() for one in method["conditions"].values()):
        return []
    return _by_condition({**task, "methods": rows}, cell)


def contribution(task: Task) -> list[str]:
    """The cross-modal contribution by method, condition and direction; empty if none was measured."""
    lines = []
    for name, method in task["methods"].items():
        for condition in task["conditions"]:
            tested = method["conditions"].get(condition, {"contribution": {}})
            for direction, one in tested["contribution"].items():
                cells = [name, condition, direction.replace("_", " "), *_crossing(one)]
                lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return []
    head = "| method | condition | direction | residual rate, % | partner share | shuffled | mean | zero |"
    return [head, "|---|---|---|---:|---:|---:|---:|---:|", *lines]


def _crossing(one: Mapping[str, Any]) -> list[str]:
    """The figures of one direction."""
    dead = f", dead in {one['dead']} of {one['cells']}" if one["dead"] else ""
    share = "" if one["partner_share"] is None else f"{one['partner_share']:.2f}"
    return [f"{100 * one['rate']:.1f}{dead}", share, *(f"{one[key]:+.1f}" for key in ("shuffled", "mean", "zero"))]


def costs(task: Task) -> list[str]:
    """What a sample costs, by method; empty if no method is a network."""
    rows = {name: method["costs"] for name, method in task["methods"].items() if method["costs"]}
    if not rows:
        return []
    further = {
        title: key
        for title, key in (
            ("8-bit energy, nJ", "energy_int8_joules"),
            ("with memory, nJ", "energy_lemaire_joules"),
        )
        if all(key in one for one in rows.values())
    }
    titles = ["method", "parameters", "million operations", "firing rate", "energy, nJ", *further, "training, s"]
    lines = []
    for name, one in rows.items():
        cells = [
            f"{one['parameters']['mean']:,.0f}",
            f"{one['operations']['mean'] / 1e6:.2f}",
            f"{one['firing_rate']['mean']:.3f}",
            *(f"{one[key]['mean'] * 1e9:.1f}" for key in ("energy_joules", *further.values())),
            f"{one['seconds']['mean']:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1), *lines]


def by_task(tasks: Mapping[str, Task], methods: Sequence[str]) -> list[str]:
    """The accuracy without corruption in %, methods by tasks, with half the width of its interval.

    A figure of fewer folds and seeds than the others, with which it cannot be compared, is left out.
    """
    lines = [f"| method | {' | '.join(tasks)} |", "|---|" + "---:|" * len(tasks)]
    for name in methods:
        cells = []
        for task in tasks.values():
            method = task["methods"].get(name)
            complete = method and len(method["cells"]) == max(
                len(one["cells"]) for one in task["methods"].values()
            )
            cells.append(_percent(method["conditions"]["clean"]["accuracy"]) if complete else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def chosen(task: Task, methods: Sequence[str], conditions: Sequence[str]) -> Task:
    """Only some methods and conditions of a task, in the given order; all where none are given. ``KeyError``."""
    rows = {name: task["methods"][name] for name in methods or task["methods"]}
    columns = {name: task["conditions"][name] for name in conditions or task["conditions"]}
    return {**task, "methods": rows, "conditions": columns}


def _by_condition(task: Task, cell: Callable[[Mapping[str, Any]], str]) -> list[str]:
    conditions = list(task["conditions"])
    lines = [f"| method | {' | '.join(conditions)} |", "|---|" + "---:|" * len(conditions)]
    for name, method in task["methods"].items():
        tested = [method["conditions"].get(condition) for condition in conditions]
        lines.append(f"| {name} | {' | '.join(cell(one) if one else '' for one in tested)} |")
    return lines


def _percent(spread: Mapping[str, Any], sign: str = "") -> str:
    """A mean in %, and half the width of its interval where it has one."""
    text = f"{100 * spread['mean']:{sign}.1f}"
    if spread["low"] is None:
        return text
    return f"{text} ± {50 * (spread['high'] - spread['low']):.1f}"
