"""Lengths that are far from the usual one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.core.data.check import USUAL, unusual


def far(seconds: list[float]) -> list[float]:
    lengths = {str(number): each for number, each in enumerate(seconds)}
    return [lengths[path] for path, _ in unusual(lengths)]


def test_a_minute_among_clips_of_three_seconds() -> None:
    rng = np.random.default_rng(0)
    seconds = rng.normal(2.5, 0.4, 200).clip(1.3, 5.0).tolist()
    assert far([*seconds, 60.0, 0.1]) == [60.0, 0.1]
    assert unusual({"a": 1.0, "b": 60.0}) == []  # of which none is usual


def test_short_ones_among_clips_of_ten_seconds() -> None:
    assert far([10.0] * 50 + [9.98, 4.0, 6.0]) == [4.0]


@given(st.lists(st.floats(0.1, 100), min_size=USUAL, max_size=30))
def test_most_lengths_are_usual(seconds: list[float]) -> None:
    assert len(far(seconds)) <= len(seconds) / 2
