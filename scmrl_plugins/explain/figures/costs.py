"""What an inference costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from scmrl_plugins.core.measure import energy as models
from scmrl_plugins.explain.drawing import SERIES, Drawing, Table, margin, panel
from scmrl_plugins.explain.figures.declare import measured_figure
from scmrl_plugins.explain.figures.layers import short

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

LAYERS = 20


@measured_figure("costs", "Operations and energy by layer")
def energy(measured: Measured) -> Iterator[Drawing]:
    """Multiply-accumulates, accumulates and the estimated energy of the most expensive layers."""
    found = measured.profile
    if found is None:
        return
    layers = [layer for layer in found.layers if layer.dense or layer.activations]
    spent = {layer.name: 1e6 * models.arithmetic(layer) for layer in layers}
    top = sorted((layer for layer in layers if layer.dense), key=lambda layer: -spent[layer.name])[:LAYERS]
    names = [short(layer.name) for layer in top]
    with panel(height=0.2 * len(top) + 0.7, left=margin(names, 7)) as drawn:
        axes = drawn.axes()
        accumulates = [1e6 * models.arithmetic(replace(layer, macs=0.0)) for layer in top]
        analogue = [spent[layer.name] - part for layer, part in zip(top, accumulates, strict=True)]
        axes.barh(range(len(top)), accumulates, color=SERIES[0], height=0.7, label="on spikes")
        if any(layer.macs for layer in top):
            axes.barh(
                range(len(top)),
                analogue,
                left=accumulates,
                color=SERIES[1],
                height=0.7,
                label="on analogue values",
            )
        axes.set_yticks(range(len(top)), names, fontsize=7)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="estimated energy of one inference, µJ")
        axes.legend(loc="lower right")
    rows = [
        [
            layer.name,
            *(f"{value:,.0f}" for value in (layer.dense, layer.effective, layer.macs, layer.acs)),
            "" if layer.activation_sparsity is None else f"{layer.activation_sparsity:.1%}",
            f"{spent[layer.name]:.3f}",
            f"{1e6 * models.lemaire(layer, found.bits):.3f}",
        ]
        for layer in layers
    ]
    head = ["layer", "connections", "effective", "multiply-accumulates", "accumulates", "outputs of zero"]
    yield Drawing(
        drawn.svg,
        f"Estimated energy of one inference by layer, {1e6 * found.energy['arithmetic']:.2f} microjoules in all, "
        f"{1e6 * found.energy['lemaire']:.2f} with memory and addressing; most in "
        + ", ".join(f"{short(layer.name)} with {spent[layer.name]:.2f}" for layer in top[:3]),
        " ".join(
            [
                "Drawn: 4.6 pJ a multiply-accumulate, 0.9 pJ an accumulate (45 nm, Horowitz 2014), without memory "
                "access; the table also has the estimate of Lemaire et al. 2022, with memory and addressing.",
                *(
                    f"{models.MODELS.get(name, name).capitalize()}: {line}."
                    for name, line in measured.verdicts.items()
                ),
            ]
        ),
        Table([*head, "µJ, arithmetic", "µJ, with memory"], rows),
    )
