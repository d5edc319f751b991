"""The figures of a report: one function per figure, declared by ``@figure`` in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Record:
    """The lines of ``metrics.jsonl`` that a report shows: those of the epochs, and that of the test split."""

    epochs: Sequence[Mapping[str, Any]]
    test: Mapping[str, Any]

    @property
    def chooser(self) -> str:
        """The split that chose the best epoch."""
        return "test" if self.test["protocol"] == "published" else "validation"


Draw = Callable[[Record], "Figure | None"]
FIGURES: dict[str, Draw] = {}
"""By description, which is the alternative text of the image. A figure that a run has nothing for is none."""


def figure(description: str) -> Callable[[Draw], Draw]:
    """Declare a function ``Record -> Figure | None`` as a figure of the report."""

    def declare(draw: Draw) -> Draw:
        FIGURES[description] = draw
        return draw

    return declare


@figure("metrics by epoch")
def curves(record: Record) -> Figure:
    """Every metric that is one number, by epoch; dotted, its value on the test split."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    names = [name for name in METRICS if any(f"{record.chooser}_{name}" in line for line in record.epochs)]
    fig = Figure(figsize=(4.4 * len(names), 4), layout="constrained")
    x = [line["epoch"] for line in record.epochs]
    for axes, name in zip(fig.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        metric, tested = METRICS[name], record.test.get(name)
        for split, colour in (("train", "C0"), (record.chooser, "C1")):
            values = [line.get(f"{split}_{name}") for line in record.epochs]
            if any(value is not None for value in values):
                y = [float("nan") if value is None else value for value in values]
                axes.plot(x, y, marker="o", ms=3, color=colour, label=split)
        title = metric.label[0].upper() + metric.label[1:]
        if tested is not None:
            axes.axhline(tested, color="k", ls=":", lw=1)
            title += f" (test {metric.text(tested)})"
        if metric.format.endswith("%"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return fig


@figure("confusion matrix of the test split")
def confusion(record: Record) -> Figure:
    """Counts of true and predicted classes."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(4.6, 4), layout="constrained")
    axes = fig.subplots()
    labels, counts = list(record.test["per_class"]), record.test["confusion"]
    axes.imshow(counts, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", title=f"Test split, {record.test['n']} samples")
    if len(counts) == len(labels) <= 20:
        axes.set_xticks(range(len(labels)), labels, rotation=45 if max(map(len, labels)) > 3 else 0)
        axes.set_yticks(range(len(labels)), labels)
        top = max(map(max, counts))
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                if count:
                    shade = "white" if count > top / 2 else "black"
                    axes.text(j, i, count, ha="center", va="center", fontsize=7, color=shade)
    return fig


@figure("accuracy by group of the test split")
def groups(record: Record) -> Figure | None:
    """The accuracy of every group, ordered, a panel for each group column; dotted, that of the split."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    columns = record.test.get("per_group")
    if not columns:
        return None
    fig = Figure(figsize=(4.4 * len(columns), 4), layout="constrained")
    for axes, (column, figures) in zip(
        fig.subplots(1, len(columns), squeeze=False)[0], columns.items(), strict=True
    ):
        ranked = sorted(figures.items(), key=lambda item: item[1]["accuracy"])
        axes.bar(range(len(ranked)), [group["accuracy"] for _, group in ranked])
        axes.axhline(record.test["accuracy"], color="k", ls=":", lw=1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel=column, title="Accuracy by group", ylim=(0, 1))
        names = [name for name, _ in ranked] if len(ranked) <= 20 else []
        axes.set_xticks(range(len(names)), names, rotation=90)
    return fig
