"""What an inference costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scmrl_plugins.explain.drawing import SERIES, Drawing, Table, margin, panel
from scmrl_plugins.explain.figures.declare import measured_figure
from scmrl_plugins.explain.figures.layers import short

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

LAYERS = 20


@measured_figure("costs", "Operations and energy by layer")
def energy(measured: Measured) -> Iterator[Drawing]:
    """Multiply-accumulates, accumulates and the estimated energy of the most expensive layers."""
    layers = measured.energy
    if not layers:
        return
    total = sum(one.joules for one in layers.values())
    top = sorted(layers.items(), key=lambda item: -item[1].joules)[:LAYERS]
    with panel(height=0.2 * len(top) + 0.7, left=margin([short(name) for name, _ in top], 7)) as drawn:
        axes = drawn.axes()
        values = [1e6 * one.joules for _, one in top]
        analogue = [1e6 * one.joules if one.multiply_accumulates > one.accumulates else 0.0 for _, one in top]
        axes.barh(range(len(top)), values, color=SERIES[0], height=0.7, label="on spikes")
        if any(analogue):
            axes.barh(range(len(top)), analogue, color=SERIES[1], height=0.7, label="on analogue values")
        axes.set_yticks(range(len(top)), [short(name) or "model" for name, _ in top], fontsize=7)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="estimated energy of one inference, µJ")
        axes.legend(loc="lower right")
    rows = [
        [name or "model", f"{one.multiply_accumulates:,.0f}", f"{one.accumulates:,.0f}", f"{1e6 * one.joules:.3f}"]
        for name, one in layers.items()
    ]
    yield Drawing(
        drawn.svg,
        f"Estimated energy of one inference by layer, {1e6 * total:.2f} microjoules in all; most in "
        + ", ".join(f"{short(name) or 'model'} with {1e6 * one.joules:.2f}" for name, one in top[:3]),
        "4.6 pJ a multiply-accumulate, 0.9 pJ an accumulate (45 nm, Horowitz 2014), without memory access.",
        Table(["layer", "multiply-accumulates", "accumulates", "µJ"], rows),
    )
