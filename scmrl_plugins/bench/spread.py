"""Statistics of repeated measurements."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """The minimum and the median of the measured times, and all of them."""
    return {"minimum": min(seconds), "median": statistics.median(seconds), "seconds": list(seconds)}


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Values with their mean and sample standard deviation, which are ``None`` if a value is ``None``."""
    finite = [value for value in values if value is not None]
    complete = len(finite) == len(values)
    return {
        "mean": statistics.fmean(finite) if complete else None,
        "std": statistics.stdev(finite) if complete and len(finite) > 1 else None,
        "values": list(values),
    }


def alike(one: float, other: float) -> bool:
    """Whether two losses differ only by rounding: by at most one part in ten thousand."""
    return abs(one - other) <= 1e-4 * max(abs(one), abs(other))


def doublings(sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    """Seconds by size, the ratio of each to the one before, and of the last to the first."""
    ratios = [None, *(after / before for before, after in itertools.pairwise(seconds))]
    rows = [{"size": n, "seconds": s, "ratio": r} for n, s, r in zip(sizes, seconds, ratios, strict=True)]
    return {"rows": rows, "ratio": seconds[-1] / seconds[0]}
