"""The time that a report may take."""

from __future__ import annotations

import time

LIMIT = 20.0
"""Seconds that a report may take, with the start of Python."""

_WAITING = 3.0
"""Seconds in which the processor may wait for files."""


class Clock:
    """What is ``left`` of some seconds.

    Where other programs keep the processors busy, the time of the processor counts: a page that is late is better
    than an empty one.
    """

    def __init__(self, seconds: float = LIMIT - 2) -> None:
        self.seconds = seconds
        self._wall, self._processor = time.monotonic(), time.process_time()

    @property
    def left(self) -> float:
        """Seconds."""
        spent = min(time.monotonic() - self._wall, _WAITING + time.process_time() - self._processor)
        return self.seconds - spent
