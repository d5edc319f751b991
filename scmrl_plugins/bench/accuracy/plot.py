"""The accuracy of every method on every task and under every condition, as a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
