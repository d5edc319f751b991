"""Events of sensors, and frames of them for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError

Bins = Literal["time", "count"]

MOST = 10_000_000
"""Events of a recording that are read; those of a digit are fewer than 100,000."""


class Events(NamedTuple):
    """Events in the order of time, each ``[n]``: microseconds, channel, row from the top, column from the left."""

    time: np.ndarray
    channel: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def middle(self, side: int, size: int) -> Events:
        """The events in the middle ``size`` x ``size`` points of ``side`` x ``side``, counted from its corner."""
        start = (side - size) // 2
        row, column = self.row - start, self.column - start
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        return Events(self.time[inside], self.channel[inside], row[inside], column[inside])


def refuse_many(count: int, name: str | Path) -> None:
    """``BadFileError`` for more than ``MOST`` events, which would take gigabytes of memory."""
    if count > MOST:
        raise BadFileError(name, f"has {count:,} events, and at most {MOST:,} are read; cut it or leave it out")


def refuse_disorder(time: np.ndarray, name: str | Path) -> None:
    """``BadFileError`` where an event is earlier than the one before it."""
    late = np.flatnonzero(time[1:] < time[:-1])
    if len(late):
        first = int(late[0]) + 1
        raise BadFileError(
            name,
            f"{len(late)} events are out of order in time, first event {first}, {time[late[0]] - time[first]} us "
            f"before the one it follows; copy it again or leave it out",
        )


def steps_of(time: np.ndarray, steps: int, bins: Bins) -> np.ndarray:
    """The time step, from 0, that each event ``[n]`` falls into, n at least 1; times are integers.

    ``time``: the steps last equally long and reach from the first event to the last, which is in the last one.
    ``count``: the steps hold equally many events, or one more or less where they cannot.
    """
    if bins == "count":
        return np.arange(len(time)) * steps // len(time)
    since = time - time[0]
    return np.minimum(since * steps // max(int(since[-1]), 1), steps - 1)


def to_frames(events: Events, steps: int, bins: Bins, shape: tuple[int, int, int]) -> np.ndarray:
    """The number of events at each point and time step, float32 ``[T, C, H, W]``; ``shape`` is ``(C, H, W)``."""
    step = steps_of(events.time, steps, bins)
    index = np.ravel_multi_index((step, *events[1:]), (steps, *shape))
    counts = np.bincount(index, minlength=steps * int(np.prod(shape)))
    return counts.reshape(steps, *shape).astype(np.float32)
