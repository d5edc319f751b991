"""Parts of files: from when to when, in the path that a row names."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from scmrl_plugins.core.interfaces import RepairedFileWarning
from scmrl_plugins.plugins.datasets.files.tables import Row

REST = 0.01
"""Seconds behind the last of several windows that are worth a note."""
_FRAGMENT = re.compile(r"^(.+)#t=([0-9.e+-]+),([0-9.e+-]*)$", re.DOTALL)


@dataclass(frozen=True)
class Window:
    """A part of a file: where it starts and how long it lasts, in seconds; none: to the end."""

    start: float = 0.0
    seconds: float | None = None

    @property
    def end(self) -> float:
        """Seconds from the start of the file to the window's end; infinity where that is the end of the file."""
        return math.inf if self.seconds is None else self.start + self.seconds

    def of(self, path: Path | str) -> str:
        """The path of a file with this window as a media fragment (W3C): ``clip.mp4#t=1.5,4.0``."""
        return f"{path}#t={self.start!r},{'' if self.seconds is None else repr(self.end)}"


def window_of(row: Row, start: float | str, seconds: float | str | None) -> Window:
    """The window that a row of a table has; ``start`` and ``seconds`` are columns, or the same for all rows.

    Raises ``BadFileError`` for cells that are no window.
    """
    first, duration = (row.number(each) if isinstance(each, str) else each for each in (start, seconds))
    if first is None or first < 0:
        raise row.bad(str(start), f"{first} is before the start of the file; write seconds from there")
    if duration is not None and duration <= 0:
        raise row.bad(str(seconds), f"{duration:g} s is no duration; write a positive number")
    return Window(first, duration)


def windows_until(end: float, seconds: float, hop: float, rounding: float) -> int:
    """How many windows of ``seconds``, one every ``hop``, are complete by ``end``, give or take ``rounding``."""
    return max(0, math.floor((end + rounding - seconds) / hop) + 1)


def note_rest(path: Path | str, end: float, count: int, seconds: float, hop: float) -> None:
    """``RepairedFileWarning`` for what is behind the last of ``count`` windows of a file that ends at ``end``."""
    if (left := end - (count - 1) * hop - seconds) > REST:
        warnings.warn(RepairedFileWarning(path, f"its last {left:.2f} s are in no window"), stacklevel=3)


def split_window(path: str) -> tuple[str, Window | None]:
    """The path and the window of what ``Window.of`` returned; no window for any other path."""
    found = _FRAGMENT.match(path)
    if not found:
        return path, None
    start = float(found[2])
    return found[1], Window(start, float(found[3]) - start if found[3] else None)
