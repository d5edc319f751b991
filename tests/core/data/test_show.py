"""Which samples ``scmrl data show`` draws: the classes alternate."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.core.data.show import alternating


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 99))
def test_classes_take_turns(labels: list[int], seed: int) -> None:
    order = alternating(np.array(labels), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    kinds = len(set(labels))
    assert {labels[index] for index in order[:kinds]} == set(labels)
    assert order == alternating(np.array(labels), np.random.default_rng(seed))
