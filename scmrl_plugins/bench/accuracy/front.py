"""Methods ranked by accuracy, and those that no other method beats in accuracy and energy at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from scmrl_plugins.bench.accuracy.grid import CLEAN

Task = Mapping[str, Any]


class Ranked(NamedTuple):
    """A method in the ranking."""

    method: str
    accuracy: Mapping[str, Any]
    """Without corruption, as ``pooled.mean`` returns it."""
    joules: float | None
    """The energy of a sample, arithmetic only; none for a baseline."""
    on_front: bool
    """Whether no network is as accurate and as cheap, and better in one of them."""


def ranking(task: Task) -> list[Ranked]:
    """The methods that were tested without corruption, the most accurate first."""
    accuracy = {
        name: method["conditions"][CLEAN]["accuracy"]
        for name, method in task["methods"].items()
        if CLEAN in method["conditions"]
    }
    joules = {
        name: method["costs"]["energy_joules"]["mean"]
        for name, method in task["methods"].items()
        if method["costs"]
    }
    points = {name: (-accuracy[name]["mean"], joules[name]) for name in accuracy if name in joules}

    def beaten(name: str) -> bool:
        return any(
            other != points[name] and all(a <= b for a, b in zip(other, points[name], strict=True))
            for other in points.values()
        )

    entries = [
        Ranked(name, one, joules.get(name), name in points and not beaten(name)) for name, one in accuracy.items()
    ]
    return sorted(entries, key=lambda entry: -entry.accuracy["mean"])
