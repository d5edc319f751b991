"""What the training reached: curves, confusion matrix, classes and groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scmrl_plugins.core.evaluation.metrics import METRICS, Metric
from scmrl_plugins.explain.drawing import (
    INK,
    SERIES,
    WIDTH,
    Drawing,
    Table,
    heat,
    integer_ticks,
    margin,
    panel,
    percent,
)
from scmrl_plugins.explain.facts import Facts
from scmrl_plugins.explain.figures.declare import figure
from scmrl_plugins.explain.shorten import shortened

NAMED = 24
"""Classes whose names are drawn, and groups."""
CLASSES, COLUMNS = 1000, 6
"""Classes whose confusions are drawn, and columns of groups."""


@figure("results", "Metrics by epoch")
def curves(facts: Facts) -> Iterator[Drawing]:
    """Every metric that is one number, by epoch; dotted, its value on the test split."""
    for name, metric in METRICS.items():
        if any(f"{facts.chooser}_{name}" in line for line in facts.epochs):
            yield _curve(facts, name, metric)


def _curve(facts: Facts, name: str, metric: Metric) -> Drawing:
    epochs = [line["epoch"] for line in facts.epochs]
    tested = facts.test.get(name)
    series: dict[str, list[float]] = {}
    for split in ("train", facts.chooser):
        values = [line.get(f"{split}_{name}") for line in facts.epochs]
        if any(value is not None for value in values):
            series[split] = [math.nan if value is None else float(value) for value in values]
    with panel() as drawn:
        axes = drawn.axes()
        for split, y in series.items():
            colour = SERIES[0] if split == "train" else SERIES[1]
            axes.plot(epochs, y, color=colour, label=split, marker="o" if len(epochs) < 30 else None, ms=3)
        if tested is not None:
            axes.axhline(tested, color=INK, ls=":", lw=1.2, label="test")
        if metric.format.endswith("%"):
            percent(axes.yaxis)
        integer_ticks(axes.xaxis)
        axes.set(xlabel="epoch")
        axes.legend(loc="best")
    label = f"{metric.label[:1].upper()}{metric.label[1:]}"
    last = {split: metric.text(y[-1]) for split, y in series.items()}
    said = ", ".join(f"{split} from {metric.text(y[0])} to {last[split]}" for split, y in series.items())
    rows = [[str(epoch), *(metric.text(y[index]) for y in series.values())] for index, epoch in enumerate(epochs)]
    return Drawing(
        drawn.svg,
        f"{label} over {len(epochs)} epochs: {said}"
        + (f"; test {metric.text(tested)}" if tested is not None else ""),
        table=Table(["epoch", *series], rows),
        title=f"{label} by epoch",
    )


@figure("results", "Confusion matrix")
def confusion(facts: Facts) -> Iterator[Drawing]:
    """Shares of the predicted classes for each true class."""
    counts, labels = np.asarray(facts.test["confusion"], dtype=float), facts.classes
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not 0 < len(counts) <= CLASSES:
        return
    names = labels if len(labels) == len(counts) else [str(index) for index in range(len(counts))]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = len(counts) <= NAMED
    wide = len(counts) > 12
    side = WIDTH if not wide else 7.0
    room = margin([shortened(name, 14) for name in names] if few else ["0000"])
    with panel(side, side * 0.95, left=room + 0.15, bottom=room + 0.15) as drawn:
        axes = drawn.axes()
        heat(axes, shares, 1.0, aspect="equal")
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(True)
        if few:
            _names(axes, names)
            for i, j in np.argwhere(counts > 0):
                axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", fontsize=7)
    worst = _confused(counts, names)
    often = "; ".join(f"{a} taken for {b} {n} times" for a, b, n in worst[:3])
    yield Drawing(
        drawn.svg,
        f"Confusion matrix of {len(counts)} classes on the test split: {np.trace(counts):.0f} of "
        f"{counts.sum():.0f} samples on the diagonal" + (f"; most often {often}" if worst else "; no confusions"),
        "Rows are true classes, columns predicted ones; the stronger the colour, the larger the share."
        + ("" if few else " Classes are in the order of their numbers; the table names the confusions."),
        Table(["true", "predicted", "samples"], [[a, b, str(n)] for a, b, n in worst[:60]]) if worst else None,
        wide=wide,
    )


def _confused(counts: np.ndarray, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Pairs of a true and a predicted class, the most frequent first."""
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[: min(60, int((off > 0).sum()))]
    return [(names[i], names[j], int(off[i, j])) for i, j in zip(*np.unravel_index(order, off.shape), strict=True)]


def _names(axes: Any, names: Sequence[str]) -> None:
    short = [shortened(name, 14) for name in names]
    rotation = 0 if max(map(len, short)) <= 2 else 60
    axes.set_xticks(range(len(names)), short, rotation=rotation, ha="right" if rotation else "center")
    axes.set_yticks(range(len(names)), short)


@figure("results", "Accuracy by class")
def classes(facts: Facts) -> Iterator[Drawing]:
    """The accuracy of every class, ordered."""
    figures = {name: float(value) for name, value in facts.test["per_class"].items()}
    if figures:
        yield ranked("class", figures, float(facts.test["accuracy"]))


@figure("results", "Accuracy by group")
def groups(facts: Facts) -> Iterator[Drawing]:
    """The accuracy of every group, such as a speaker, ordered; one drawing for each column."""
    columns: Mapping[str, Any] = facts.test.get("per_group") or {}
    for column, figures in list(columns.items())[:COLUMNS]:
        named = {name: float(one["accuracy"]) for name, one in figures.items()}
        counts = {name: int(one["n"]) for name, one in figures.items()}
        yield ranked(column, named, float(facts.test["accuracy"]), counts)


def ranked(
    what: str, figures: Mapping[str, float], overall: float, counts: Mapping[str, int] | None = None
) -> Drawing:
    """Accuracies as bars, the smallest first; dotted, that of all."""
    order = sorted(figures.items(), key=lambda item: item[1])
    values = [value for _, value in order]
    few = len(order) <= NAMED
    names = [shortened(name, 22) for name, _ in order]
    height, room = (0.19 * len(order) + 0.7, margin(names)) if few else (2.9, 0.52)
    with panel(height=height, left=room) as drawn:
        axes = drawn.axes()
        if few:
            axes.barh(range(len(order)), values, color=SERIES[0], height=0.7)
            axes.set_yticks(range(len(order)), names)
            axes.grid(axis="y", visible=False)
            axes.axvline(overall, color=INK, ls=":", lw=1.2)
            axes.set(xlim=(0, 1), xlabel=f"accuracy by {shortened(what, 20)}")
            percent(axes.xaxis)
        else:
            axes.fill_between(range(len(order)), values, step="mid", color=SERIES[0], alpha=0.85, lw=0)
            axes.axhline(overall, color=INK, ls=":", lw=1.2)
            axes.set(ylim=(0, 1), xlabel=f"{shortened(what, 20)}, ordered by accuracy", ylabel="accuracy")
            percent(axes.yaxis)
    rows = [[name, f"{value:.1%}", *([str(counts[name])] if counts else [])] for name, value in order]
    lowest, highest = order[0], order[-1]
    return Drawing(
        drawn.svg,
        f"Accuracy by {shortened(what)}, {len(order)} in all: lowest {lowest[0]} with {lowest[1]:.1%}, highest "
        f"{highest[0]} with {highest[1]:.1%}, all together {overall:.1%}",
        "Dotted: the accuracy of the split.",
        Table([shortened(what), "accuracy", *(["samples"] if counts else [])], rows),
        title=f"Accuracy by {shortened(what)}",
    )


@figure("results", "Loss terms by epoch")
def terms(facts: Facts) -> Iterator[Drawing]:
    """The terms of the training loss, where there are several."""
    names = list(facts.epochs[-1].get("terms", {})) if facts.epochs else []
    if len(names) < 2:
        return
    epochs = [line["epoch"] for line in facts.epochs]
    with panel() as drawn:
        axes = drawn.axes()
        for name, colour in zip(names[:8], SERIES, strict=False):
            y = [float(line.get("terms", {}).get(name, math.nan)) for line in facts.epochs]
            axes.plot(epochs, y, color=colour, label=shortened(name, 20))
        integer_ticks(axes.xaxis)
        axes.set(xlabel="epoch")
        axes.legend()
    rows = [
        [str(line["epoch"]), *(f"{line.get('terms', {}).get(name, math.nan):.4f}" for name in names[:8])]
        for line in facts.epochs
    ]
    said = ", ".join(f"{name} {row}" for name, row in zip(names, rows[-1][1:], strict=False))
    yield Drawing(
        drawn.svg,
        f"Terms of the training loss by epoch; at the end {said}",
        table=Table(["epoch", *names[:8]], rows),
    )
