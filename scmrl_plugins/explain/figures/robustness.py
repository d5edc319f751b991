"""Accuracy under corrupted inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scmrl_plugins.explain.drawing import BOTH, COLOURS, INK, MUTED, Drawing, Table, margin, panel, percent
from scmrl_plugins.explain.figures.declare import measured_figure

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

AMOUNTS = {"noise": "signal-to-noise ratio of {}, dB", "occlusion": "share of {} hidden"}


@measured_figure("robustness", "Accuracy under noise and occlusion")
def curves(measured: Measured) -> Iterator[Drawing]:
    """Accuracy by the amount of a corruption of one modality, with the best single modality beside it."""
    carried = measured.carried
    if carried is None:
        return
    for curve in measured.curves:
        x = [point.amount for point in curve.points]
        y = [point.accuracy for point in curve.points]
        with panel(height=2.6) as drawn:
            axes = drawn.axes()
            axes.plot(x, y, marker="o", color=COLOURS[curve.modality], label=f"{curve.modality} corrupted")
            if curve.best_single:
                axes.plot(
                    x, curve.best_single, ls="--", marker="s", ms=3, color=BOTH, label="best single modality"
                )
            axes.axhline(carried.accuracy(*carried.modalities), color=MUTED, lw=1, label="clean")
            axes.axhline(carried.baseline, color=INK, ls=":", lw=1.2)
            axes.set(ylim=(0, 1.03), xlabel=AMOUNTS[curve.corruption].format(curve.modality), ylabel="accuracy")
            percent(axes.yaxis)
            if curve.corruption == "occlusion":
                percent(axes.xaxis)
            axes.legend()
        header = [curve.corruption, "accuracy", *(["best single modality"] if curve.best_single else [])]
        rows = [
            [f"{amount:g}", f"{value:.1%}", *([f"{curve.best_single[i]:.1%}"] if curve.best_single else [])]
            for i, (amount, value) in enumerate(zip(x, y, strict=True))
        ]
        yield Drawing(
            drawn.svg,
            f"Accuracy by {AMOUNTS[curve.corruption].format(curve.modality)}: "
            + ", ".join(f"{row[1]} at {row[0]}" for row in rows)
            + f"; clean {carried.accuracy(*carried.modalities):.1%}",
            f"{measured.n} samples. Dotted: chance.",
            Table(header, rows),
            title=f"{curve.corruption.capitalize()} on {curve.modality}",
        )


@measured_figure("robustness", "A modality that is missing")
def loss(measured: Measured) -> Iterator[Drawing]:
    """The accuracy with a modality replaced by silence or black."""
    carried = measured.carried
    if carried is None or len(carried.modalities) < 2:
        return
    bars = {"all": carried.accuracy(*carried.modalities)}
    bars |= {f"no {name}": carried.without(name) for name in carried.modalities}
    with panel(height=1.6, left=margin(bars)) as drawn:
        axes = drawn.axes()
        axes.barh(
            range(len(bars)),
            list(bars.values()),
            color=[BOTH, *(COLOURS[n] for n in carried.modalities)],
            height=0.6,
        )
        axes.set_yticks(range(len(bars)), list(bars))
        axes.invert_yaxis()
        axes.axvline(carried.baseline, color=INK, ls=":", lw=1.2)
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 1), xlabel="accuracy")
        percent(axes.xaxis)
    rows = [[name, f"{value:.1%}"] for name, value in bars.items()]
    yield Drawing(
        drawn.svg,
        "Accuracy with a modality missing: " + ", ".join(f"{name} {value}" for name, value in rows),
        "Replaced by the silence or black of the data set. Dotted: chance.",
        Table(["modality", "accuracy"], rows),
    )
