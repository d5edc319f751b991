"""Drawings for a page: vector graphics in the colours of its theme, with a text alternative and their numbers."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from scmrl_plugins.explain.shorten import shortened

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.0
"""Inches of a drawing, which is a column of the page or the screen of a phone."""
ROWS = 400
"""Rows of a table that a page shows."""
CELL = 120
"""Characters of a cell."""

# Colours that stand for the theme's while matplotlib draws.
INK, MUTED, GRID = "#010203", "#040506", "#070809"
SERIES = [f"#a0000{number}" for number in range(8)]
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    colour: f"--c{number}" for number, colour in enumerate(SERIES)
}
AUDIO, VISUAL, BOTH = SERIES[0], SERIES[1], SERIES[2]
COLOURS = {"audio": AUDIO, "visual": VISUAL, "both": BOTH}
HEAT = (0.20, 0.47, 0.87)
"""Of heat maps: the larger a value, the less the page shines through."""

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.edgecolor": "none",
}


@dataclass
class Table:
    """The numbers of a drawing: a header, and rows of a name and texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        self.omitted = max(0, len(self.rows) - ROWS)
        self.rows = [[shortened(cell, CELL) for cell in row] for row in self.rows[:ROWS]]


@dataclass
class Drawing:
    """A picture of a report. ``text`` says what it shows, for those who do not see it."""

    svg: str
    text: str
    caption: str = ""
    table: Table | None = None
    wide: bool = False
    title: str = ""
    """Instead of that of the figure."""

    @property
    def picture(self) -> Markup:
        """The graphic with its text alternative."""
        return Markup(self.svg.replace("<svg", f'<svg role="img" aria-label="{escape(self.text)}"', 1))


@dataclass
class Panel:
    """A matplotlib figure while it is drawn; ``svg`` afterwards."""

    figure: Figure
    svg: str = field(default="", init=False)

    def axes(self, *shape: int, **options: Any) -> Any:
        """Axes as ``subplots`` returns them."""
        return self.figure.subplots(*shape, **options)


@contextlib.contextmanager
def panel(
    width: float = WIDTH,
    height: float = 2.9,
    *,
    left: float = 0.52,
    bottom: float = 0.45,
    top: float = 0.12,
    between: float = 0.2,
) -> Iterator[Panel]:
    """A figure to draw in, converted to a vector graphic at the end of the block.

    Margins are in inches; ``between``: between axes, in shares of them. A layout engine would take twice the time.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {**_SETTINGS, "axes.prop_cycle": cycler(color=SERIES), "svg.hashsalt": "scmrl"}
    with rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters without a glyph: the browser chooses the font
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(
            left=left / width,
            right=1 - 0.12 / width,
            bottom=bottom / height,
            top=1 - top / height,
            wspace=between,
            hspace=between,
        )
        drawn = Panel(figure)
        yield drawn
        file = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format="svg", metadata=nothing)
        drawn.svg = themed(file.getvalue())


def margin(names: Iterable[str], size: float = 9) -> float:
    """The inches that labels take."""
    return 0.16 + 0.0082 * size * max(map(len, names), default=0)


def themed(svg: str) -> str:
    """matplotlib's file as an element of a page, in the colours of its theme and its font.

    Only names that are referred to stay, with a prefix that keeps those of several graphics apart.
    """
    svg, prefix = svg[svg.index("<svg") :], f"f{zlib.crc32(svg.encode()):08x}-"
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)
    svg = re.sub(r"font: (?:\w+ )*?([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg)


def heat(axes: Axes, values: np.ndarray, top: float | None = None, **options: Any) -> None:
    """A matrix of values from 0 to ``top``, default its maximum, as cells: transparent to solid."""
    import numpy as np

    values = np.nan_to_num(np.asarray(values, dtype=float))
    scale = top if top is not None else float(values.max(initial=0.0))
    image = np.empty((*values.shape, 4), dtype=np.uint8)
    image[..., :3] = np.round(255 * np.array(HEAT))
    image[..., 3] = np.round(255 * 0.92 * np.clip(values / (scale or 1.0), 0, 1))
    axes.imshow(image, interpolation="none", aspect=options.pop("aspect", "auto"), **options)
    axes.grid(False)


def percent(axis: Any) -> None:
    """Label an axis of shares in percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0))


def integer_ticks(axis: Any) -> None:
    """Label an axis of counts at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
