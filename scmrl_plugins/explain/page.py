"""Pages from templates: sections of drawings, within the size that a page may have."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scmrl_plugins import __version__
from scmrl_plugins.explain.drawing import Drawing

LARGEST = 5_000_000
"""Bytes of a page."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class Section:
    """A part of a page: its title, and its drawings, each with a title."""

    id: str
    title: str
    drawings: list[tuple[str, Drawing]]


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(
    template: str, sections: Sequence[Section], further: Sequence[tuple[str, str]] = (), **values: Any
) -> str:
    """A page from a template. ``further``: ids and titles of the sections that the template has itself.

    Drawings are left out, the largest first, until the page is no larger than ``LARGEST``.
    """
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    while True:
        shown = [section for section in sections if section.drawings]
        contents = [*((section.id, section.title) for section in shown), *further]
        page = (
            _environment()
            .get_template(template)
            .render(
                groups=shown,
                contents=contents,
                linked={id for id, _ in contents},
                style=style,
                version=__version__,
                **values,
            )
        )
        if len(page.encode()) <= LARGEST or not shown:
            return page
        for section in shown:
            section.drawings.sort(key=lambda item: len(item[1].svg))
        largest = max(shown, key=lambda section: len(section.drawings[-1][1].svg))
        largest.drawings.pop()
