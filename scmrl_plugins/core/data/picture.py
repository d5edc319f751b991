"""A figure of model inputs and class counts of a data set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.interfaces import MODALITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = 4
"""Maximum number of time steps to draw, spread over the sequence."""
NAMED = 40
"""Maximum number of classes to label with names instead of numbers."""
INCHES, SMALL = 1.45, 0.9
"""Side of an image in inches, and the side if there are several time steps per sample."""
# Colours by Okabe and Ito, safe for colour-blind readers; events in the end colours of ColorBrewer's RdBu.
COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73"}
RED, BLUE = np.array([178, 24, 43]) / 255.0, np.array([33, 102, 172]) / 255.0


@dataclass(frozen=True)
class Example:
    """Class and id of a sample, and its model inputs in evaluation and in training."""

    label: int
    id: str
    evaluation: Mapping[str, np.ndarray]
    training: Mapping[str, np.ndarray]


def figure(
    title: str,
    classes: Sequence[str],
    examples: Sequence[Example],
    counts: Mapping[str, np.ndarray],
    spectrograms: bool = True,
) -> Figure:
    """Class counts as bars on the left, one row per sample on the right.

    ``spectrograms``: whether row 0 of audio is its lowest frequency, drawn at the bottom.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fonts, absent = fonts_for("".join([title, *map(str, classes), *(example.id for example in examples)]))
    names = [printable(str(name), absent) for name in classes]
    modalities = [name for name in MODALITIES if name in examples[0].evaluation]
    columns = [(name, training) for name in modalities for training in (False, True)]
    widths = [_steps(examples[0].evaluation[name]) for name, _ in columns]
    bars = 0.22 * min(len(names), NAMED) + 1.1 if counts else 0.8
    side = INCHES if sum(widths) == len(widths) else SMALL
    rows = side * len(examples) + 1.0
    height = max(rows, bars + 0.8) + 0.4
    with rc_context({"font.family": fonts, "font.size": 9}):
        fig = Figure(figsize=(5.2 + side * sum(widths), height), layout="constrained")
        fig.suptitle(printable(title, absent, 80), fontsize=12)
        panels: Any = fig.subfigures(1, 2, width_ratios=[3.4, 1.8 + side * sum(widths)])
        left, right = panels
        upper, below = left.subfigures(2, 1, height_ratios=[bars, height - bars])
        axes = upper.subplots()
        _draw_counts(axes, names, counts)
        below.legend(*axes.get_legend_handles_labels(), loc="upper center", frameon=False)
        samples, _ = right.subfigures(2, 1, height_ratios=[rows, height - rows])
        grid = samples.subplots(len(examples), len(columns), width_ratios=widths, squeeze=False)
        for row, example in zip(grid, examples, strict=True):
            for axes, (name, training) in zip(row, columns, strict=True):
                both = (example.evaluation[name], example.training[name])
                low, high = min(x.min() for x in both), max(x.max() for x in both)
                _draw(axes, both[training], low, high, spectrograms and name == "audio")
            label = f"{names[example.label]}\n{printable(example.id, absent)}"
            row[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6, fontsize=8)
        for axes, (name, training) in zip(grid[0], columns, strict=True):
            axes.set_title(f"{name}\n{'training' if training else 'evaluation'}", fontsize=9)
        samples.supxlabel(_legend(examples[0].evaluation, spectrograms), fontsize=8, color="0.3")
        FigureCanvasAgg(fig).draw()  # tick labels are created on drawing and must use these fonts
    return fig


def _draw_counts(axes: Axes, names: Sequence[str], counts: Mapping[str, np.ndarray]) -> None:
    axes.set_title("samples by class", fontsize=9)
    if not counts:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "samples of a stream are not counted", ha="center", va="center", fontsize=8)
        return
    start = np.zeros(len(names))
    for split, count in counts.items():
        axes.barh(
            np.arange(len(names)), count, left=start, color=COLOURS[split], label=f"{split}: {count.sum():,}"
        )
        start = start + count
    if len(names) <= NAMED:
        axes.set_yticks(range(len(names)), names, fontsize=8)
    else:
        axes.set_ylabel("number of the class")
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="samples")
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(inputs: Mapping[str, np.ndarray], spectrograms: bool) -> str:
    """A description of axes and colours."""
    lines = []
    for name, array in inputs.items():
        channels, steps = array.shape[-3], len(array) if array.ndim == 4 else 1
        what = "channel 0 in red, channel 1 in blue" if channels == 2 else "from minimum to maximum"
        axes = "frequency over time, " if name == "audio" and spectrograms else ""
        mean = f"mean of {channels} channels, " if channels > 3 else ""
        sequence = f", {_steps(array)} of {steps} time steps" if steps > 1 else ""
        lines.append(f"{name}: {axes}{mean}{what}{sequence}")
    return "\n".join(lines)


def _draw(axes: Axes, array: np.ndarray, low: float, high: float, spectrogram: bool) -> None:
    pictures = [colours_of(step, low, high) for step in spread_steps(array)]
    gap = np.full((pictures[0].shape[0], max(1, pictures[0].shape[1] // 16), 3), 0.8)
    strip = list(itertools.chain.from_iterable((gap, picture) for picture in pictures))[1:]
    axes.imshow(np.concatenate(strip, axis=1), origin="lower" if spectrogram else "upper", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.8")


def spread_steps(array: np.ndarray) -> list[np.ndarray]:
    """A static input, or up to ``STEPS`` time steps of ``[T, C, H, W]``, evenly spaced."""
    if array.ndim == 3:
        return [array]
    return [array[(2 * index + 1) * len(array) // (2 * _steps(array))] for index in range(_steps(array))]


def _steps(array: np.ndarray) -> int:
    return 1 if array.ndim == 3 else min(STEPS, len(array))


def colours_of(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """``[C, H, W]`` as RGB ``[H, W, 3]`` in [0, 1]; two polarities of events are red and blue."""
    from matplotlib import colormaps

    values = array.astype(np.float64)
    if len(array) == 2:
        # The square root of counts keeps single events visible.
        red, blue = np.sqrt(np.clip(values / (high or 1.0), 0.0, 1.0))[..., None]
        return np.clip(1.0 - red * (1.0 - RED) - blue * (1.0 - BLUE), 0.0, 1.0)
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    if len(array) == 3:
        return scaled.transpose(1, 2, 0)
    return colormaps["viridis"](scaled.mean(axis=0))[..., :3]


def printable(text: str, absent: frozenset[int], length: int = 28) -> str:
    """A name for drawing: shortened, without formulas, and with escapes for characters without a font."""
    if len(text) > length:
        text = f"{text[: length // 2 - 1]}…{text[-length // 2 :]}"
    drawn = (char.encode("ascii", "backslashreplace").decode() if ord(char) in absent else char for char in text)
    return "".join(drawn).replace("$", r"\$")


def fonts_for(text: str) -> tuple[list[str], frozenset[int]]:
    """Installed fonts that together cover a text, and the characters that no font has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    chosen = ["DejaVu Sans"]
    absent = set(map(ord, text)) - set(FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap())
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if font.name.startswith("Last Resort"):  # has a box for every character
            continue
        if absent and (covered := absent & set(FT2Font(font.fname).get_charmap())):
            chosen.append(font.name)
            absent -= covered
    return chosen, frozenset(absent)
