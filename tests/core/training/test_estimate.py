"""Time and memory of a step, estimated from trials."""

from __future__ import annotations

import pytest
from estimates import MEBI, known
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.core.training.estimate import Estimate, Trial


@given(st.integers(1, 500), st.floats(1, 100), st.floats(0, 1000), st.integers(1, 9))
def test_linear_costs_are_predicted(batch: int, each: float, fixed: float, step: int) -> None:
    found = known(None, *((b, fixed + each * b) for b in (step, 2 * step, 4 * step)))
    assert found.size(batch) == pytest.approx((fixed + each * batch) * MEBI, rel=1e-3, abs=9 * MEBI)
    assert found.seconds(batch) == pytest.approx(batch)


def test_a_batch_fits_where_most_of_the_free_memory_is_enough() -> None:
    found = known(1000 * MEBI, (2, 120), (4, 140), (8, 180))  # 100 + 10 a sample
    assert found.fits(80)
    assert not found.fits(81)
    assert known(None, (2, 120), (4, 140)).fits(10**6)
    assert Estimate([Trial(2, 1.0, None)], 1).fits(10**6)
