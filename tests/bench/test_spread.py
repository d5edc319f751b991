from __future__ import annotations

import pytest

from scmrl_plugins.bench.spread import alike, doublings, spread


def test_a_spread_has_the_minimum_and_the_median() -> None:
    assert spread([3.0, 1.0, 8.0]) == {"minimum": 1.0, "median": 3.0, "seconds": [3.0, 1.0, 8.0]}


def test_doublings_compare_each_size_with_the_one_before() -> None:
    result = doublings((4, 8, 16), (1.0, 2.0, 3.0))
    assert [row["ratio"] for row in result["rows"]] == [None, 2.0, 1.5]
    assert result["ratio"] == 3.0


@pytest.mark.parametrize(("other", "same"), [(2.0001, True), (2.001, False), (2.0, True)])
def test_losses_are_alike_to_one_in_ten_thousand(other: float, same: bool) -> None:
    assert alike(2.0, other) is same
