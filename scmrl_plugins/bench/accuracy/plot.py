"""The accuracy of every method on every task and under every condition, and against energy, as plots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scmrl_plugins.bench.accuracy.front import ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4


def figure(summary: Mapping[str, Any]) -> Figure:
    """A panel for each task and condition: a point a method, with the 95 % interval."""
    from matplotlib.figure import Figure

    panels = [
        (name, task, condition) for name, task in summary["tasks"].items() for condition in task["conditions"]
    ]
    most = max(len(task["methods"]) for _, task, _ in panels)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(2.0 + 2.6 * columns, rows * (0.9 + 0.22 * most)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (name, task, condition) in zip(axes, panels, strict=False):
        tested = [(method, one["conditions"].get(condition)) for method, one in task["methods"].items()]
        shown = [(method, one["accuracy"]) for method, one in tested if one]
        for position, (_, spread) in enumerate(shown):
            axis.plot(100 * spread["mean"], position, "o", color="C0", markersize=4)
            if spread["low"] is not None:
                axis.plot([100 * spread["low"], 100 * spread["high"]], [position] * 2, color="C0", linewidth=1)
        axis.set_yticks(range(len(shown)), [method for method, _ in shown], fontsize=7)
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(", ".join(filter(None, [name, condition])), loc="left", fontsize=9)
        axis.tick_params(axis="x", labelsize=7)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("test accuracy, %, with 95 % interval", fontsize=9)
    return figure


def front(summary: Mapping[str, Any]) -> Figure:
    """A panel for each task: accuracy against energy, numbered networks, and a line through the front."""
    from matplotlib.figure import Figure

    tasks = {name: task for name, task in summary["tasks"].items() if any(one.on_front for one in ranking(task))}
    columns = min(2, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    most = max(len(task["methods"]) for task in tasks.values())
    figure = Figure(figsize=(5.6 * columns, rows * max(3.0, 0.7 + 0.12 * most)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (name, task) in zip(axes, tasks.items(), strict=False):
        _front(axis, task)
        axis.set_title(name, loc="left", fontsize=9)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    figure.supxlabel("energy of a sample, nJ: arithmetic in 45 nm", fontsize=9)
    figure.supylabel("test accuracy, %", fontsize=9)
    return figure


def _front(axis: Axes, task: Mapping[str, Any]) -> None:
    entries = [(entry, 1e9 * entry.joules) for entry in ranking(task) if entry.joules is not None]
    entries.sort(key=lambda one: one[1])
    best = [(energy, 100 * entry.accuracy["mean"]) for entry, energy in entries if entry.on_front]
    axis.step([x for x, _ in best], [y for _, y in best], where="post", color="C3", linewidth=1, label="front")
    for number, (entry, energy) in enumerate(entries, start=1):
        spread, colour = entry.accuracy, "C3" if entry.on_front else "C0"
        axis.plot(energy, 100 * spread["mean"], "o", color=colour, markersize=4)
        if spread["low"] is not None:
            axis.plot(
                [energy] * 2, [100 * spread["low"], 100 * spread["high"]], color=colour, linewidth=0.7, alpha=0.5
            )
        at = (energy, 100 * spread["mean"])
        axis.annotate(str(number), at, (3, 2), textcoords="offset points", fontsize=6, color=colour)
        axis.plot([], [], " ", label=f"{number} {entry.method}", color=colour)
    energies = [energy for _, energy in entries]
    if 0 < 10 * min(energies) < max(energies):
        axis.set_xscale("log")
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=7)
    legend = axis.legend(
        loc="upper left", bbox_to_anchor=(1, 1), fontsize=6, labelcolor="linecolor", labelspacing=0.2
    )
    legend.set_frame_on(False)
