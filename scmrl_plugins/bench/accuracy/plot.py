"""The accuracy of every method under every condition, as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(summary: Mapping[str, Any]) -> Figure:
    """Bars by method and condition, with the standard deviation over seeds."""
    from matplotlib.figure import Figure

    methods, conditions = summary["methods"], list(summary["conditions"])
    figure = Figure(
        figsize=(max(7.0, 1.1 * len(methods) * max(1, len(conditions) / 4)), 4.5), layout="constrained"
    )
    axes = figure.add_subplot()
    width = 0.8 / len(conditions)
    for position, condition in enumerate(conditions):
        spreads = [method["conditions"][condition] for method in methods.values()]
        axes.bar(
            [index - 0.4 + width * (position + 0.5) for index in range(len(methods))],
            [100 * spread["mean"] for spread in spreads],
            width * 0.92,
            yerr=[100 * (spread["std"] or 0.0) for spread in spreads],
            error_kw={"elinewidth": 1, "capsize": 2},
            label=condition,
        )
    axes.set_xticks(range(len(methods)), list(methods), rotation=25, ha="right")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(
        " and ".join(sorted({method["protocol"] for method in methods.values()})) + " protocol", loc="left"
    )
    axes.set_ylim(0, 100)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
