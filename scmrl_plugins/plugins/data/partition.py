"""Seeded ways to divide labelled items among splits and to deal them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stratified(labels: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> list[np.ndarray]:
    """Disjoint index arrays, one a share, each with that share of every class; what is over belongs to none.

    ``labels`` are integers ``[n]``. Shares that add up to 1 use every item.
    """
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        bounds = np.round(np.cumsum([0.0, *shares]) * len(members)).astype(int)
        for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
            part.append(members[start:end])
    return [np.sort(np.concatenate(part)) for part in parts]


class Dealer:
    """Deals the items of a class in a random order, all of them once before any comes again."""

    def __init__(self, labels: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> None:
        self._order = {int(label): rng.permutation(items[labels[items] == label]) for label in np.unique(labels)}
        self._next = dict.fromkeys(self._order, 0)

    def deal(self, label: int, count: int) -> list[int]:
        """The next ``count`` items of the class; a class without items gives none."""
        order = self._order.get(label, np.empty(0, dtype=int))
        if len(order) == 0:
            return []
        start = self._next[label]
        self._next[label] = start + count
        return [int(order[(start + offset) % len(order)]) for offset in range(count)]
