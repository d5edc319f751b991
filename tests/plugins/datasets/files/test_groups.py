from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.plugins.datasets.files.groups import connected, refuse_divided, refuse_taken
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.registry import UserError


@given(
    pairs=st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=1, max_size=30),
    share=st.floats(0.1, 0.9),
)
@settings(max_examples=60, deadline=None)
def test_what_is_divided_shares_no_group_of_any_column(pairs: list[tuple[str, str]], share: float) -> None:
    rng = np.random.default_rng(0)
    parts = grouped(np.zeros(len(pairs), dtype=int), connected(pairs), share, rng)
    for place in (0, 1):
        first, second = ({pairs[index][place] for index in part} for part in parts)
        assert not first & second
    assert sorted(np.concatenate(parts)) == list(range(len(pairs)))


def test_a_divided_group_is_named() -> None:
    refuse_divided("a.csv", "speaker", {"train": ["ann", "bob", ""], "test": ["cid", ""]})
    with pytest.raises(UserError) as caught:
        refuse_divided("a.csv", "speaker", {"train": ["ann", "bob"], "dev": [], "test": ["cid", "bob"]})
    assert str(caught.value) == (
        "a.csv: group 'bob' of column 'speaker' is in the splits train and test; keep it in one of them, or "
        "remove 'speaker' from dataset.group_columns"
    )


@pytest.mark.parametrize("names", [("label",), ("speaker", "speaker"), ("",)])
def test_names_that_cannot_be_group_columns(names: tuple[str, ...]) -> None:
    assert refuse_taken(("speaker", "room")) == ("speaker", "room")
    with pytest.raises(ValueError, match="column"):
        refuse_taken(names)
