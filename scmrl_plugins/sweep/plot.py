"""The accuracies of a sweep over each of its settings, as a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scmrl_plugins.sweep.directory import DONE
from scmrl_plugins.sweep.sweep import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(summary: Mapping[str, Any]) -> Figure:
    """A panel per setting: validation and test accuracy of the trials that are done, the best one circled."""
    from matplotlib.figure import Figure

    keys, done = list(summary["space"]), [trial for trial in summary["trials"] if trial["status"] == DONE]
    columns = min(3, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = Figure(figsize=(max(5.0, 3.4 * columns), 0.6 + 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, key in zip(panels, keys, strict=False):
        _panel(panel, key, summary["space"][key], done)
    for panel in panels[len(keys) :]:
        panel.set_visible(False)
    for row in range(rows):
        panels[row * columns].set_ylabel("accuracy, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    return figure


def _panel(panel: Axes, key: str, axis: Any, done: Sequence[Mapping[str, Any]]) -> None:
    x = _positions(panel, axis, [trial["settings"][key] for trial in done])
    for split, colour, fill in (("validation", "tab:blue", "tab:blue"), ("test", "tab:gray", "none")):
        y = [100 * trial[f"{split}_accuracy"] for trial in done]
        panel.scatter(x, y, s=26, marker="o", label=split, edgecolors=colour, facecolors=fill)
    best = [100 * done[0]["validation_accuracy"]]
    panel.scatter(x[:1], best, s=110, marker="o", facecolors="none", edgecolors="tab:red", label="best")
    panel.set_xlabel(key)
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)


def _positions(panel: Axes, axis: Any, values: Sequence[Any]) -> list[Any]:
    """Where the values lie on the x axis: numbers on a linear or logarithmic scale, others side by side."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if axis.keys() & {"log_uniform", "log_integer"} if isinstance(axis, dict) else _by_factors(axis):
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.xaxis.set_minor_formatter(NullFormatter())
        return list(values)
    names = [value_text(value) for value in values]
    distinct = list(dict.fromkeys(names))
    panel.set_xticks(range(len(distinct)), [name[:24] for name in distinct], rotation=20, ha="right")
    panel.set_xlim(-0.5, len(distinct) - 0.5)
    return [distinct.index(name) for name in names]


def _by_factors(values: Sequence[float]) -> bool:
    """Whether listed numbers are like 1e-4, 1e-3, 1e-2."""
    return min(values) > 0 and max(values) / min(values) >= 20
