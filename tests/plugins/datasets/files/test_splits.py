from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.plugins.datasets.files.splits import ClassCycle, stratified

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array)


@given(labels=LABELS, seed=st.integers(0, 5))
def test_parts_are_disjoint_and_complete(labels: np.ndarray, seed: int) -> None:
    parts = stratified(labels, (0.6, 0.15, 0.25), np.random.default_rng(seed))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part, share in zip(parts, (0.6, 0.15, 0.25), strict=True):
        for label in np.unique(labels):
            assert abs((labels[part] == label).sum() - share * (labels == label).sum()) <= 1


def test_shares_below_one_leave_items_over() -> None:
    parts = stratified(np.repeat(np.arange(10), 100), (0.3, 0.1), np.random.default_rng(0))
    assert [len(part) for part in parts] == [300, 100]
    assert not set(parts[0]) & set(parts[1])


def test_the_seed_decides() -> None:
    labels = np.repeat(np.arange(10), 20)
    first, again, other = (stratified(labels, (0.5, 0.5), np.random.default_rng(s))[0] for s in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


@given(labels=LABELS, count=st.integers(1, 30))
def test_dealing_repeats_only_when_all_were_dealt(labels: np.ndarray, count: int) -> None:
    items = np.arange(len(labels))[::2]
    cycle = ClassCycle(labels, items, np.random.default_rng(0))
    label = int(labels[0])
    pool = [item for item in items.tolist() if labels[item] == label]
    dealt = cycle.take(label, count) + cycle.take(label, count)
    assert set(dealt) <= set(pool)
    times = Counter(dealt)
    assert max(times.values()) - min(times.get(item, 0) for item in pool) <= 1
    assert cycle.take(99, 3) == []
