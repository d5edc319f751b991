"""How a figure is declared, and the sections of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scmrl_plugins.explain.drawing import Drawing
from scmrl_plugins.explain.facts import Facts

Draw = Callable[[Facts], Iterator[Drawing]]

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


def figure(section: str, title: str, *, measured: bool = False) -> Callable[[Draw], Draw]:
    """Declare a function ``Facts -> drawings`` as a figure of the report."""

    def declare(draw: Draw) -> Draw:
        FIGURES.append(Figured(section, title, draw, measured))
        return draw

    return declare
