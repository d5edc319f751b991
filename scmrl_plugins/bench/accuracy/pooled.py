"""Correct answers pooled over the folds and seeds of a method, by groups that are independent of each other."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scmrl_plugins.core.evaluation.statistics import Scores, accuracy_interval, paired_difference


@dataclass
class Pool:
    """``counts[cell][group]`` are samples and correct answers; ``column`` says what the groups are, as speakers.

    Where the data set has no groups, each cell is one group.
    """

    counts: dict[Hashable, dict[str, tuple[int, int]]] = field(default_factory=dict)
    column: str | None = None

    def add(self, cell: Hashable, tested: Mapping[str, Any], column: str | None) -> None:
        """Add the record of a cell under a condition, grouped by a column; none: the first of the data set."""
        groups = tested["groups"]
        column = column or next(iter(groups), None)
        if column in groups:
            self.column = column
            self.counts[cell] = {name: (n, correct) for name, (n, correct) in groups[column].items()}
        else:
            self.counts[cell] = {str(cell): (tested["n"], round(tested["n"] * tested["metrics"]["accuracy"]))}

    def by_group(self) -> dict[str, tuple[int, int]]:
        """Samples and correct answers of each group, over all cells."""
        total: dict[str, tuple[int, int]] = {}
        for groups in self.counts.values():
            for name, (n, correct) in groups.items():
                before = total.get(name, (0, 0))
                total[name] = before[0] + n, before[1] + correct
        return total

    def scores(self, cells: Iterable[Hashable]) -> list[Scores]:
        """The answers of some cells by sample; which of a group's answers are right does not matter here."""
        return [_scores(cell, self.counts[cell]) for cell in cells]


def _scores(cell: Hashable, groups: Mapping[str, tuple[int, int]]) -> Scores:
    names = [name for name, (n, _) in groups.items() for _ in range(n)]
    hits = [index < correct for n, correct in groups.values() for index in range(n)]
    return Scores([f"{cell} {i}" for i in range(len(hits))], [0] * len(hits), np.array(hits, dtype=float), names)


def mean(pool: Pool) -> dict[str, Any]:
    """The share of correct answers, with its 95 % interval clustered by group; without one for a single group."""
    totals = pool.by_group()
    if len(totals) < 2:
        ((n, correct),) = totals.values()
        return {"mean": correct / n, "low": None, "high": None}
    found = accuracy_interval(*pool.scores(pool.counts))
    return {"mean": found.value, "low": found.low, "high": found.high}


def worst(pool: Pool) -> dict[str, Any] | None:
    """The group with the lowest share of correct answers; none where the data set has no groups."""
    if pool.column is None:
        return None
    shares = {name: correct / n for name, (n, correct) in pool.by_group().items() if n}
    name = min(shares, key=shares.__getitem__)
    return {"group": name, "accuracy": shares[name]}


def difference(one: Pool, other: Pool) -> dict[str, Any] | None:
    """The accuracy of one method minus that of the other, on the cells of the same fold and seed, with the 95 %
    interval and the p value clustered by group; none if there are no such cells, or only one group.
    """
    shared = [cell for cell in one.counts if cell in other.counts]
    if len({name for cell in shared for name in one.counts[cell]}) < 2:
        return None
    found = paired_difference(one.scores(shared), other.scores(shared))
    return {"mean": found.value, "low": found.low, "high": found.high, "p": found.p}
