"""Parts of files: from when to when, in the path that a row names."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

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


def split_window(path: str) -> tuple[str, Window | None]:
    """The path and the window of what ``Window.of`` returned; no window for any other path."""
    found = _FRAGMENT.match(path)
    if not found:
        return path, None
    start = float(found[2])
    return found[1], Window(start, float(found[3]) - start if found[3] else None)
