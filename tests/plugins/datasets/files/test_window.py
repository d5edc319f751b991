"""How many windows a recording has."""

from __future__ import annotations

from itertools import count, takewhile

from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.plugins.datasets.files.window import windows_until

MILLISECONDS = st.integers(1, 5000)


@given(st.integers(0, 20_000), MILLISECONDS, MILLISECONDS)
def test_windows_are_those_that_are_complete(end: int, seconds: int, hop: int) -> None:
    complete = list(takewhile(lambda index: index * hop + seconds <= end, count()))
    assert windows_until(end / 1000, seconds / 1000, hop / 1000, 0.0005) == len(complete)
