from __future__ import annotations

import pytest

from scmrl_plugins.sweep import space


def test_draws_lie_where_their_range_says() -> None:
    axes = space.read_axes(
        {
            "a.u": {"uniform": [-1, 3]},
            "a.l": {"log_uniform": [1e-4, 1.0]},
            "a.i": {"integer": [1, 3]},
            "a.j": {"log_integer": [1, 1000]},
        },
        "here",
    )
    points = space.draw(axes, 2000, 0, "here")
    values = {key: sorted(point[key] for point in points) for key in points[0]}
    assert -1 <= values["a.u"][0] < -0.9
    assert 0.9 < values["a.u"][1000] < 1.1
    assert 2.9 < values["a.u"][-1] <= 3
    assert 0.008 < values["a.l"][1000] < 0.0125  # half of them below the geometric mean
    assert {value: values["a.i"].count(value) // 100 for value in (1, 2, 3)}.keys() == {1, 2, 3}
    assert all(600 < values["a.i"].count(value) < 730 for value in (1, 2, 3))
    assert values["a.j"][0] == 1
    assert 25 < values["a.j"][1000] < 40
    assert values["a.j"][-1] <= 1000


@pytest.mark.parametrize("share", [0.0, 1 - 2**-53])
def test_the_ends_of_a_range_are_in_it(share: float) -> None:
    for kind, ends in (("uniform", [0.1, 0.7]), ("log_uniform", [3e-5, 0.9]), ("integer", [2, 7])):
        value = space.Range(**{kind: ends}).at(share)
        assert value == pytest.approx(ends[round(share)], rel=1e-3)
        assert ends[0] <= value <= ends[1]
