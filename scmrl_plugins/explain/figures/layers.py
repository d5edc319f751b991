"""Firing rates of every layer, over training and at the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scmrl_plugins.core.measure.firing import DEAD, SATURATED, unhealthy
from scmrl_plugins.explain.drawing import (
    MUTED,
    SERIES,
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

NAMED = 40
"""Layers whose names are drawn."""
CROSSES = 500
"""Marks that are drawn: more would hide the rates."""


@figure("layers", "Firing rates on the test split")
def rates(facts: Facts) -> Iterator[Drawing]:
    """The rate of every layer; dead and saturated ones in another colour, with what usually helps."""
    found = {name: float(rate) for name, rate in facts.test["firing_rates"].items()}
    if not found:
        return
    problems = {one.layer: one for one in unhealthy(found, facts.tags)}
    few = len(found) <= NAMED
    colours = [SERIES[1] if name in problems else SERIES[0] for name in found]
    height, room = (0.17 * len(found) + 0.65, margin(map(short, found), 7)) if few else (6.5, 0.6)
    with panel(height=height, left=room) as drawn:
        axes = drawn.axes()
        axes.barh(range(len(found)), list(found.values()), color=colours, height=0.75 if few else 1.0)
        for index, name in enumerate(found):
            if few and name in problems:
                axes.text(found[name] + 0.005, index, problems[name].state, va="center", fontsize=7)
        axes.set_ylim(len(found) - 0.4, -0.6)
        if few:
            axes.set_yticks(range(len(found)), [short(name) for name in found], fontsize=7)
        else:
            axes.set_ylabel("layer, in the order of the network")
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="spikes per neuron and time step", xlim=(0, max(0.05, 1.12 * max(found.values()))))
        percent(axes.xaxis)
    rows = [
        [
            name,
            f"{rate:.2%}",
            problems[name].state if name in problems else "",
            problems[name].remedy if name in problems else "",
        ]
        for name, rate in found.items()
    ]
    rows.sort(key=lambda row: not row[2])
    remedies = dict.fromkeys(f"{one.state}: {one.remedy}" for one in problems.values())
    helps = f"What usually helps: {'; '.join(remedies)}." if remedies else ""
    said = "; ".join(str(one) for one in list(problems.values())[:3]) or "none is dead or saturated"
    yield Drawing(
        drawn.svg,
        f"Firing rates of {len(found)} neuron layers, from {min(found.values()):.2%} to {max(found.values()):.2%}"
        f": {said}",
        f"Dead: below {DEAD:.1%}. Saturated: above {SATURATED:.0%}. {helps}",
        Table(["layer", "rate", "state", "what usually helps"], rows),
    )


@figure("layers", "Firing rates over training")
def over_training(facts: Facts) -> Iterator[Drawing]:
    """The rate of every layer by epoch, on the split that is evaluated after it."""
    lines = [line for line in facts.epochs if line.get("firing_rates")]
    if not lines:
        return
    names = list(lines[-1]["firing_rates"])
    epochs = [line["epoch"] for line in lines]
    values = np.array([[float(line["firing_rates"].get(name, 0.0)) for line in lines] for name in names])
    few = len(names) <= NAMED
    top = float(values.max(initial=0.0))
    height, room = (0.17 * len(names) + 0.65, margin(map(short, names), 7)) if few else (6.5, 0.6)
    with panel(height=height, left=room) as drawn:
        axes = drawn.axes()
        heat(axes, values, top, extent=(epochs[0] - 0.5, epochs[-1] + 0.5, len(names) - 0.5, -0.5))
        dead = np.argwhere((values < DEAD) | (values > SATURATED))
        axes.plot(
            [epochs[column] for _, column in dead], [row for row, _ in dead], "x", color=SERIES[1], ms=4, mew=1.2
        ) if len(dead) <= 2000 else None
        if few:
            axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=7)
        else:
            axes.set_ylabel("layer, in the order of the network")
        axes.set(xlabel="epoch")
        integer_ticks(axes.xaxis)
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color(MUTED)
    rows = [
        [name, f"{row[0]:.2%}", f"{row.min():.2%}", f"{row.max():.2%}", f"{row[-1]:.2%}"]
        for name, row in zip(names, values, strict=True)
    ]
    yield Drawing(
        drawn.svg,
        f"Firing rates of {len(names)} layers over {len(lines)} epochs, from 0 to {top:.1%}; {len(dead)} times a "
        f"layer was dead or saturated after an epoch",
        f"The strongest colour is {top:.1%}. Crosses: dead or saturated.",
        Table(["layer", f"epoch {epochs[0]}", "lowest", "highest", f"epoch {epochs[-1]}"], rows),
    )


def short(name: str) -> str:
    """The name of a layer with what all layers share left out."""
    for long, brief in (
        ("backbones.", ""),
        ("fusion.", ""),
        ("audio_from_visual", "a←v"),
        ("visual_from_audio", "v←a"),
        (".neuron", ""),
        ("stages.", ""),
    ):
        name = name.replace(long, brief)
    return shortened(name, 26)
