"""Seeded division of labelled items among splits, and pairing of items of a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stratified(labels: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> list[np.ndarray]:
    """Disjoint index arrays, one a share, each with that share of every class; the remainder belongs to none.

    ``labels`` are integers ``[n]``. Shares that add up to 1 use every item.
    """
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        bounds = np.round(np.cumsum([0.0, *shares]) * len(members)).astype(int)
        for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
            part.append(members[start:end])
    return [np.sort(np.concatenate(part)) for part in parts]


def grouped(
    labels: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all but about ``share`` of every class, and of that share, with no group in both.

    ``labels`` and ``groups`` are ``[n]``. Groups are assigned in a random order, each to the side that still lacks
    most of its classes: where a group has a single class, a class is off by half of its largest group at most.
    Neither side is empty where there are two groups.
    """
    _, label = np.unique(labels, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    lacking = np.outer((1.0 - share, share), np.bincount(label))
    side = np.zeros(len(members), dtype=int)
    order = rng.permutation(len(members))
    for index in order:
        its_labels = label[members[index]]
        side[index] = np.argmax(lacking[:, its_labels].sum(1))
        np.subtract.at(lacking[side[index]], its_labels, 1)
    if len(order) > 1 and len(np.unique(side)) == 1:
        side[order[-1]] = 1 - side[order[-1]]
    return np.flatnonzero(side[group] == 0), np.flatnonzero(side[group] == 1)


def in_order(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all but the last ``share`` of every class, and of those, of two items or more at least one."""
    last = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        last[members[round((1.0 - share) * len(members)) :]] = True
    if len(labels) > 1 and not last.any():
        last[-1] = True
    return np.flatnonzero(~last), np.flatnonzero(last)


class ClassCycle:
    """The items of each class in random order, repeatedly: each item comes once before any comes again."""

    def __init__(self, labels: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> None:
        self._order = {int(label): rng.permutation(items[labels[items] == label]) for label in np.unique(labels)}
        self._next = dict.fromkeys(self._order, 0)

    def take(self, label: int, count: int) -> list[int]:
        """The next ``count`` items of a class; none for a class without items."""
        order = self._order.get(label, np.empty(0, dtype=int))
        if len(order) == 0:
            return []
        start = self._next[label]
        self._next[label] = start + count
        return [int(order[(start + offset) % len(order)]) for offset in range(count)]
