"""What stands in the files of a run, cut to what a page can show: a run may be a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT, ENTRIES, DEPTH = 60, 2000, 6
"""The longest name, the most entries of a list or table, and how deep they may be nested."""


def shortened(text: object, length: int = TEXT) -> str:
    """A text with its middle left out where it is longer, without control characters."""
    shown = str(text) if not isinstance(text, str) or len(text) <= length else _middle_left_out(text, length)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)


def _middle_left_out(text: str, length: int) -> str:
    return f"{text[: length // 2]}…{text[-(length - length // 2 - 1) :]}"


def bounded(value: Any, depth: int = DEPTH) -> Any:
    """JSON with short texts, no more than ``ENTRIES`` entries each, nested no deeper than ``DEPTH``.

    Keys that become equal are numbered, so that no entry is lost.
    """
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, Mapping | list) and not depth:
        return "…"
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for number, (key, inner) in enumerate(list(value.items())[:ENTRIES]):
            name = shortened(key)
            found[f"{name} ({number})" if name in found else name] = bounded(inner, depth - 1)
        return found
    if isinstance(value, list):
        return [bounded(inner, depth - 1) for inner in value[:ENTRIES]]
    return value


def excerpt(text: str, lines: int = 400, length: int = 200) -> str:
    """A text file with long lines shortened and the lines after the first ``lines`` left out."""
    found = text.splitlines()
    shown = [shortened(line, length) for line in found[:lines]]
    return "\n".join([*shown, *([f"… {len(found) - lines:,} more lines"] if len(found) > lines else [])])
