"""How a figure is declared, and the sections of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scmrl_plugins.explain.drawing import Drawing
from scmrl_plugins.explain.facts import Facts

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

Draw = Callable[[Facts], Iterator[Drawing]]
DrawMeasured = Callable[["Measured"], Iterator[Drawing]]

SECTIONS = {
    "results": "Results",
    "carries": "Who carries it",
    "layers": "Layers",
    "samples": "Samples inside the network",
    "space": "Shared semantic space",
    "robustness": "Robustness",
    "costs": "Operations and energy",
}
"""The title of each section, in the order of the page."""


@dataclass(frozen=True)
class Figured:
    """A figure of a section: ``draw`` yields its drawings, none where the run has nothing for it."""

    section: str
    title: str
    draw: Draw
    measured: bool
    """Whether it shows what only ``scmrl explain`` measures."""


FIGURES: list[Figured] = []


def figure(section: str, title: str) -> Callable[[Draw], Draw]:
    """Declare a function ``Facts -> drawings`` as a figure of the report."""

    def declare(draw: Draw) -> Draw:
        FIGURES.append(Figured(section, title, draw, measured=False))
        return draw

    return declare


def measured_figure(section: str, title: str) -> Callable[[DrawMeasured], DrawMeasured]:
    """Declare a function ``Measured -> drawings`` as a figure; without measurements it is not called."""

    def declare(draw: DrawMeasured) -> DrawMeasured:
        def if_measured(facts: Facts) -> Iterator[Drawing]:
            if facts.measured is not None:
                yield from draw(facts.measured)

        FIGURES.append(Figured(section, title, if_measured, measured=True))
        return draw

    return declare
