"""Which modality the accuracy comes from, and what crosses between them; what is known after each time step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scmrl_plugins.core.evaluation import contribution
from scmrl_plugins.explain.drawing import (
    BOTH,
    COLOURS,
    INK,
    MUTED,
    SERIES,
    Drawing,
    Table,
    integer_ticks,
    margin,
    panel,
    percent,
)
from scmrl_plugins.explain.facts import Facts
from scmrl_plugins.explain.figures.declare import figure, measured_figure
from scmrl_plugins.explain.shorten import shortened
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

NAMED = 24
"""Classes whose names are drawn."""


@measured_figure("carries", "Each modality alone, left out, and exchanged inside the fusion")
def alone(measured: Measured) -> Iterator[Drawing]:
    """Accuracy with all, with each modality alone and left out, and with the partner of another sample."""
    carried = measured.carried
    if carried is None:
        return
    bars = [("all modalities", carried.accuracy(*carried.modalities), BOTH)]
    for name in carried.modalities if len(carried.modalities) > 1 else ():
        bars.append((f"{name} alone", carried.accuracy(name), COLOURS[name]))
    for name in carried.modalities:
        bars.append((f"without {name}", carried.without(name), COLOURS[name]))
    for name, figures in (measured.contribution or {}).items():
        stream = name.partition("_")[0]
        shuffled = carried.accuracy(*carried.modalities) + figures["shuffled"] / 100
        bars.append((f"{name.replace('_', ' ')} shuffled", shuffled, COLOURS[stream]))
    with panel(height=0.3 * len(bars) + 0.6, left=margin(name for name, *_ in bars)) as drawn:
        axes = drawn.axes()
        axes.barh(range(len(bars)), [value for _, value, _ in bars], color=[c for *_, c in bars], height=0.7)
        axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
        axes.invert_yaxis()
        axes.axvline(carried.baseline, color=INK, ls=":", lw=1.2)
        axes.set(xlim=(0, 1), xlabel="accuracy")
        axes.grid(axis="y", visible=False)
        percent(axes.xaxis)
    rows = [[name, f"{value:.1%}"] for name, value, _ in bars]
    yield Drawing(
        drawn.svg,
        f"Accuracy on {measured.n} samples: " + ", ".join(f"{name} {value}" for name, value in rows),
        "Dotted: chance, always guessing the most frequent class. Shuffled: the stream takes from the partner of "
        "another sample inside the fusion.",
        Table(["condition", "accuracy"], [*rows, ["chance", f"{carried.baseline:.1%}"]]),
    )


@measured_figure("carries", "Shapley shares of the modalities")
def shares(measured: Measured) -> Iterator[Drawing]:
    """How the points above chance are shared out."""
    carried = measured.carried
    if carried is None:
        return
    found = {name: 100 * share for name, share in carried.shares.items()}
    gain = 100 * (carried.accuracy(*carried.modalities) - carried.baseline)
    try:
        limits = [(100 * one.low, 100 * one.high) for one in carried.intervals.values()]
    except UserError:  # all samples are of one group
        limits = []
    with panel(height=0.3 * len(found) + 0.7, left=margin(found)) as drawn:
        axes = drawn.axes()
        axes.barh(range(len(found)), list(found.values()), color=[COLOURS[name] for name in found], height=0.6)
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        for row, limit in enumerate(limits):
            axes.plot(limit, [row, row], color=INK, lw=1.5)
        axes.axvline(0, color=MUTED, lw=1)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"points of accuracy; the sum is {gain:.1f}")
    rows = [[name, f"{share:+.1f}"] for name, share in found.items()]
    between = [f"{low:+.1f} to {high:+.1f}" for low, high in limits] or [""] * len(rows)
    yield Drawing(
        drawn.svg,
        f"Shapley shares of the {gain:.1f} points above chance: "
        + ", ".join(f"{name} {share} points" for name, share in rows),
        f"They add up to the accuracy minus chance, {carried.accuracy(*carried.modalities):.1%} - "
        f"{carried.baseline:.1%}, on {measured.n} samples" + ("; lines: 95 % intervals." if limits else "."),
        Table(
            ["modality", "points", "95 % interval"],
            [*([*row, one] for row, one in zip(rows, between, strict=True)), ["sum", f"{gain:+.1f}", ""]],
        ),
    )


@measured_figure("carries", "Each modality by class")
def by_class(measured: Measured) -> Iterator[Drawing]:
    """The accuracy of every class with all modalities and with each alone."""
    carried = measured.carried
    if carried is None or len(carried.modalities) < 2:
        return
    names = [shortened(name) for name in carried.complete.classes]
    found = {"both": carried.per_class(*carried.modalities)}
    found |= {name: carried.per_class(name) for name in carried.modalities}
    present = [index for index, value in enumerate(found["both"]) if value is not None]
    few = len(present) <= NAMED
    shown = [shortened(names[index], 18) for index in present]
    height, room = (0.24 * len(present) + 0.9, margin(shown)) if few else (3.4, 0.52)
    with panel(height=height, left=room, top=0.35) as drawn:
        axes = drawn.axes()
        for (name, values), marker in zip(found.items(), "os^", strict=False):
            x = [values[index] for index in present]
            positions = range(len(present))
            points = (x, positions) if few else (positions, x)
            axes.plot(*points, marker, color=COLOURS[name], ms=4.5, label=name, alpha=0.9, ls="none")
        if few:
            axes.set_yticks(range(len(present)), shown)
            axes.invert_yaxis()
            axes.set(xlim=(-0.03, 1.03), xlabel="accuracy")
            percent(axes.xaxis)
        else:
            axes.set(ylim=(-0.03, 1.03), xlabel="number of the class", ylabel="accuracy")
            percent(axes.yaxis)
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    rows = [[names[index], *(f"{values[index] or 0:.1%}" for values in found.values())] for index in present]
    yield Drawing(
        drawn.svg,
        f"Accuracy of {len(present)} classes with both modalities, audio alone and vision alone, in the table",
        f"{measured.n} samples, about {measured.n / max(1, len(present)):.0f} a class.",
        Table(["class", *found], rows),
    )


@figure("carries", "What crosses between the modalities")
def crossing(facts: Facts) -> Iterator[Drawing]:
    """The rate of the residual and the share of the partner, by direction."""
    directions = facts.contribution
    if not directions:
        return
    names = [name.replace("_", " ") for name in directions]
    values = {
        "rate of the residual": [float(figures["rate"]) for figures in directions.values()],
        "share of the partner": [float(figures["partner_share"] or 0) for figures in directions.values()],
    }
    with panel(height=0.5 * len(names) + 0.9, left=margin(names), top=0.35) as drawn:
        axes = drawn.axes()
        for row, ((label, shown), colour) in enumerate(zip(values.items(), (SERIES[2], SERIES[3]), strict=True)):
            positions = [index + 0.36 * row - 0.18 for index in range(len(names))]
            axes.barh(positions, shown, height=0.34, color=colour, label=label)
            for position, value in zip(positions, shown, strict=True):
                axes.text(value, position, f" {value:.3g}", va="center", fontsize=7)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, max(0.05, *(value for shown in values.values() for value in shown)) * 1.15))
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    rows = [list(row) for row in contribution.rows(directions)]
    described = "; ".join(
        f"{row[0]}: residual rate {row[1]}, share of the partner {row[2]}, accuracy with it shuffled {row[3]}"
        for row in rows
    )
    yield Drawing(
        drawn.svg,
        f"Cross-modal contribution on the test split. {described}",
        "Rate: elements of what a stream takes from the other that are not 0. Share: of its variance that is due "
        "to the partner. Changes of accuracy in the table are in points.",
        Table(list(contribution.HEADER), rows),
    )


@measured_figure("carries", "Accuracy by time step")
def by_step(measured: Measured) -> Iterator[Drawing]:
    """What is known after t of T steps."""
    if not measured.by_step:
        return
    values, steps = measured.by_step, range(1, len(measured.by_step) + 1)
    with panel(height=2.4) as drawn:
        axes = drawn.axes()
        axes.plot(steps, values, marker="o", color=BOTH)
        if measured.carried is not None:
            axes.axhline(measured.carried.baseline, color=INK, ls=":", lw=1.2)
        axes.set(ylim=(0, 1.03), xlabel="time step", ylabel="accuracy")
        integer_ticks(axes.xaxis)
        percent(axes.yaxis)
    rows = [[str(step), f"{value:.1%}"] for step, value in zip(steps, values, strict=True)]
    yield Drawing(
        drawn.svg,
        f"Accuracy after each of {len(values)} time steps: " + ", ".join(f"{value}" for _, value in rows),
        "From the mean of the predictions so far. Dotted: chance.",
        Table(["time step", "accuracy"], rows),
    )
