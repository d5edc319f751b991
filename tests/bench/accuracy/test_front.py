"""The ranking of methods, and the front of accuracy and energy."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.bench.accuracy import plot, tables
from scmrl_plugins.bench.accuracy.front import ranking


def task(points: dict[str, tuple[float, float | None]]) -> dict[str, Any]:
    return {
        "methods": {
            name: {
                "conditions": {"clean": {"accuracy": {"mean": accuracy, "low": None, "high": None}}},
                "costs": None if joules is None else {"energy_joules": {"mean": joules}},
            }
            for name, (accuracy, joules) in points.items()
        }
    }


POINTS = {
    "wasteful": (0.8, 9e-9),
    "best": (0.9, 5e-9),
    "chance": (0.1, None),
    "cheap": (0.7, 1e-9),
    "beaten": (0.6, 1e-9),
    "rule": (0.95, None),
}


def test_the_table_ranks_by_accuracy_and_marks_the_front() -> None:
    assert tables.named(task(POINTS), "ranking")[2:] == [
        "| 1 | rule | 95.0 |  |  |",
        "| 2 | best | 90.0 | 5.0 | yes |",
        "| 3 | wasteful | 80.0 | 9.0 |  |",
        "| 4 | cheap | 70.0 | 1.0 | yes |",
        "| 5 | beaten | 60.0 | 1.0 |  |",
        "| 6 | chance | 10.0 |  |  |",
    ]
    assert tables.ranked({"methods": {"late": {"conditions": {}, "costs": None}}}) == []


def test_the_plot_has_every_network_and_a_line_through_the_front() -> None:
    drawn = plot.front({"tasks": {"same": task(POINTS), "match": task({"chance": (0.1, None)})}})
    [axis] = [axis for axis in drawn.axes if axis.get_visible()]
    assert [text.get_text() for text in axis.texts] == ["1", "2", "3", "4"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        *("front", "1 cheap", "2 beaten", "3 best", "4 wasteful")
    ]
    [line] = [one for one in axis.lines if one.get_label() == "front"]
    assert [round(float(x), 9) for x in line.get_xdata()] == [1, 5]
    assert [round(float(y), 9) for y in line.get_ydata()] == [70, 90]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_what_is_not_on_the_front_is_beaten_by_something_on_it(found: list[tuple[int, int]]) -> None:
    places = ranking(task({f"m{i}": (accuracy / 5, 1e-9 * joules) for i, (accuracy, joules) in enumerate(found)}))
    front = [(place.accuracy["mean"], place.joules) for place in places if place.on_front]
    assert front
    for place in places:
        better = [
            one
            for one in front
            if one[0] >= place.accuracy["mean"]
            and one[1] <= place.joules
            and one != (place.accuracy["mean"], place.joules)
        ]
        assert place.on_front is not bool(better)
