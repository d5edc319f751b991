"""Samples inside the network: where it looks, its spikes and its membranes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.data.picture import colours_of
from scmrl_plugins.explain.drawing import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    Drawing,
    Table,
    heat,
    integer_ticks,
    margin,
    panel,
)
from scmrl_plugins.explain.figures.declare import measured_figure
from scmrl_plugins.explain.figures.layers import short
from scmrl_plugins.explain.inside import Example, grid
from scmrl_plugins.explain.shorten import shortened

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

PIXELS = 160
"""The largest side of a drawn input."""


def titled(example: Example, classes: Sequence[str]) -> str:
    """What a sample is, and what it is taken for."""
    predicted = shortened(classes[example.predicted], 24)
    sure = f"{example.probabilities[example.predicted]:.0%}"
    name = shortened(example.name, 32)
    if example.label is None:
        return f"{name}: {predicted} ({sure})"
    true = shortened(classes[example.label], 24)
    return f"{name}: {true}, " + (
        f"recognised ({sure})" if example.label == example.predicted else f"taken for {predicted} ({sure})"
    )


def _shown(measured: Measured) -> tuple[list[Example], Sequence[str]]:
    return measured.examples, measured.evaluation.predictions.classes


@measured_figure("samples", "Where the network looks")
def looks(measured: Measured) -> Iterator[Drawing]:
    """Input, attention and Grad-CAM of each modality, for each chosen sample."""
    examples, classes = _shown(measured)
    for example in examples:
        yield look(example, classes)


def look(example: Example, classes: Sequence[str]) -> Drawing:
    """Input, attention and Grad-CAM, a row for each modality."""
    columns = ["input", "attention", "Grad-CAM"] if example.attention else ["input", "Grad-CAM"]
    modalities = list(example.inputs)
    peaks = []
    with panel(WIDTH, 1.45 * len(modalities) + 0.3, left=0.25, bottom=0.05, top=0.25, between=0.06) as drawn:
        grids = drawn.axes(len(modalities), len(columns), squeeze=False)
        for row, modality in zip(grids, modalities, strict=True):
            sound = modality == "audio" and example.inputs[modality].ndim == 3
            for axes, column in zip(row, columns, strict=True):
                _picture(axes, example.inputs[modality], sound, faded=column != "input")
                tokens = {"attention": example.attention, "Grad-CAM": example.cams}.get(column, {}).get(modality)
                if tokens is not None:
                    peaks += _overlay(axes, tokens, sound, f"{column} of {modality}")
                if modality == modalities[0]:
                    axes.set_title(column, fontsize=9)
            row[0].set_ylabel(modality)
    return Drawing(
        drawn.svg,
        f"{titled(example, classes)}. " + ("; ".join(peaks) or "No map"),
        "The more orange, the larger the weight.",
        title=f"Where it looks: {titled(example, classes)}",
    )


def _picture(axes: Any, x: np.ndarray, sound: bool, faded: bool) -> None:
    """An input in its colours, or as a pale grey background; of a sequence the middle step."""
    image = x[len(x) // 2] if x.ndim == 4 else x
    step = max(1, -(-max(image.shape[-2:]) // PIXELS))
    image = image[..., ::step, ::step]
    low, high = float(image.min()), float(image.max())
    picture = colours_of(image, low, high)
    if faded:
        grey = picture.mean(2, keepdims=True)
        picture = np.concatenate([grey, grey, grey, np.full_like(grey, 0.45)], axis=2)
    axes.imshow(
        np.round(255 * picture).astype(np.uint8),
        origin="lower" if sound else "upper",
        interpolation="none",
        extent=(0, 1, 0, 1) if sound else (0, 1, 1, 0),
        aspect="equal",
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)


def _overlay(axes: Any, tokens: np.ndarray, sound: bool, what: str) -> list[str]:
    """A map over the tokens on a picture; where it peaks, in words."""
    cells = grid(tokens)
    if cells is None:
        axes.text(0.5, 0.5, f"{len(tokens)} tokens,\nno square", ha="center", va="center", fontsize=7)
        return []
    if not cells.any():
        axes.text(0.5, 0.5, "0 everywhere", ha="center", va="center", fontsize=7)
        return [f"{what} is 0 everywhere"]
    image = np.empty((*cells.shape, 4), dtype=np.uint8)
    image[..., :3] = (240, 118, 20)
    image[..., 3] = np.round(225 * np.clip(cells, 0, 1))
    extent = (0, 1, 0, 1) if sound else (0, 1, 1, 0)
    axes.imshow(image, origin="lower" if sound else "upper", interpolation="none", extent=extent, aspect="equal")
    row, column = np.unravel_index(int(cells.argmax()), cells.shape)
    across = ("left", "centre", "right")[min(2, 3 * int(column) // cells.shape[1])]
    down = ("top", "middle", "bottom")[min(2, 3 * int(row) // cells.shape[0])]
    if sound:
        across, down = (
            {"left": "early", "centre": "mid", "right": "late"}[across],
            {"top": "low", "middle": "medium", "bottom": "high"}[down],
        )
        return [f"{what} is largest at {down} frequencies, {across} in time"]
    return [f"{what} is largest at the {down}, {across}"]


@measured_figure("samples", "Attention over time steps")
def over_time(measured: Measured) -> Iterator[Drawing]:
    """Attention from step to step, of the layers that have it, for the first sample."""
    examples, classes = _shown(measured)
    if examples and examples[0].over_time:
        yield attention_over_time(examples[0], classes)


def attention_over_time(example: Example, classes: Sequence[str]) -> Drawing:
    """Weights from step to step, a panel for each layer."""
    maps = dict(list(example.over_time.items())[:4])
    with panel(WIDTH, 2.0, top=0.3, between=0.45) as drawn:
        for axes, (name, weights) in zip(drawn.axes(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
            count = weights.shape[1]
            heat(axes, weights, aspect="equal", extent=(0.5, count + 0.5, len(weights) + 0.5, 0.5))
            axes.set_title(short(name), fontsize=8)
            axes.set(xlabel="attended step", ylabel="step" if len(weights) > 1 else "")
            integer_ticks(axes.xaxis)
            if len(weights) > 1:
                integer_ticks(axes.yaxis)
            else:
                axes.set_yticks([])
    rows = [[name, *(f"{value:.3g}" for value in weights.mean(0)[:32])] for name, weights in maps.items()]
    silent = [name for name, weights in maps.items() if not weights.any()]
    return Drawing(
        drawn.svg,
        f"{titled(example, classes)}. Attention over time steps of {len(maps)} layers"
        + (f"; 0 everywhere in {', '.join(silent)}" if silent else ""),
        "Rows attend to columns; the strongest colour of each panel is its largest weight.",
        Table(["layer", *(str(step + 1) for step in range(len(rows[0]) - 1))], rows),
    )


@measured_figure("samples", "Spikes")
def rasters(measured: Measured) -> Iterator[Drawing]:
    """The spikes of some layers, for each chosen sample."""
    examples, classes = _shown(measured)
    for example in examples[:2]:
        if example.spikes:
            yield raster(example, classes)


def raster(example: Example, classes: Sequence[str]) -> Drawing:
    """A panel for each layer: neurons by time steps."""
    spikes = example.spikes
    steps = len(next(iter(spikes.values())))
    with panel(WIDTH, 0.62 * len(spikes) + 0.5, left=margin(map(short, spikes), 7), between=0.15) as drawn:
        grids = drawn.axes(len(spikes), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, fired) in zip(grids, spikes.items(), strict=True):
            neurons = fired.shape[1]
            heat(axes, np.abs(fired).T, 1.0, extent=(0.5, steps + 0.5, neurons + 0.5, 0.5))
            axes.set_yticks([])
            axes.set_ylabel(short(name), rotation=0, ha="right", va="center", fontsize=7)
            axes.spines[:].set_visible(True)
        integer_ticks(grids[-1].xaxis)
        grids[-1].set_xlabel("time step")
    rows = [[name, f"{(fired != 0).mean():.1%}", str(fired.shape[1])] for name, fired in spikes.items()]
    return Drawing(
        drawn.svg,
        f"Spike raster. {titled(example, classes)}. Share of steps with a spike: "
        + ", ".join(f"{short(row[0])} {row[1]}" for row in rows),
        "Neurons from the most to the least active of those that fire, of layers spread over the network.",
        Table(["layer", "steps with a spike", "neurons drawn"], rows),
        title=f"Spikes: {titled(example, classes)}",
    )


@measured_figure("samples", "Membrane potentials")
def membranes(measured: Measured) -> Iterator[Drawing]:
    """Membrane traces of some neurons, for the first sample."""
    examples, classes = _shown(measured)
    if examples and examples[0].membranes:
        yield traces(examples[0], classes)


def traces(example: Example, classes: Sequence[str]) -> Drawing:
    """A panel for each layer: the potential of the neurons that vary most, dots where they fire."""
    found = dict(list(example.membranes.items())[:4])
    steps = np.arange(1, len(next(iter(found.values()))) + 1)
    with panel(WIDTH, 0.95 * len(found) + 0.7, top=0.3, between=0.55) as drawn:
        grids = drawn.axes(len(found), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, potentials) in zip(grids, found.items(), strict=True):
            fired = example.fired[name]
            for index in range(potentials.shape[1]):
                colour = SERIES[index]
                axes.plot(steps, potentials[:, index], color=colour, lw=1.3)
                hits = fired[:, index] != 0
                axes.plot(steps[hits], potentials[hits, index], "o", color=colour, ms=4)
            axes.axhline(0, color=MUTED, lw=0.6)
            axes.set_title(short(name), fontsize=8, fontweight="normal", color=INK)
        integer_ticks(grids[-1].xaxis)
        grids[-1].set_xlabel("time step")
    rows = [[name, f"{x.min():.3g}", f"{x.max():.3g}", f"{x.mean():.3g}"] for name, x in found.items()]
    return Drawing(
        drawn.svg,
        f"Membrane potentials after each step. {titled(example, classes)}. "
        + "; ".join(f"{short(row[0])} from {row[1]} to {row[2]}" for row in rows),
        "After the reset of each step; dots: the neuron fires.",
        Table(["layer", "lowest", "highest", "mean"], rows),
        title=f"Membrane potentials: {titled(example, classes)}",
    )
