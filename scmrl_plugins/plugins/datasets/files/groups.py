"""Groups of samples, such as those of a speaker, which must not be divided between splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scmrl_plugins.registry import UserError

_TAKEN = ("audio", "visual", "label", "id", "split", "problem")
"""Columns that have another meaning."""


def refuse_taken(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of group columns; ``ValueError`` for one that is empty, comes twice, or has another meaning."""
    if taken := [name for name in names if name in _TAKEN]:
        raise ValueError(f"{taken[0]!r} is a column with another meaning; rename it in the data")
    if "" in names or len({*names}) < len(names):
        raise ValueError("expected different names of columns, none of them empty")
    return names


def refuse_divided(source: object, column: str, splits: Mapping[str, Sequence[str]]) -> None:
    """``UserError`` if a group is in two splits. ``splits``: the groups of the samples, by the split's name.

    An empty name is no group.
    """
    home: dict[str, str] = {}
    for split, groups in splits.items():
        for group in dict.fromkeys(groups):
            if group and home.setdefault(group, split) != split:
                raise UserError(
                    f"{source}: group {group!r} of column {column!r} is in the splits {home[group]} and {split}; "
                    f"keep it in one of them, or remove {column!r} from dataset.group_columns"
                )


def connected(keys: Sequence[Sequence[str]]) -> np.ndarray:
    """A number for each item, the same for items that a chain of common keys connects."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    edges = [
        (item, numbers.setdefault(key, len(numbers))) for item, item_keys in enumerate(keys) for key in item_keys
    ]
    items, used = np.array(edges, dtype=np.int32).reshape(-1, 2).T
    size = len(keys) + len(numbers)
    graph = coo_array((np.ones(len(edges)), (items, used + len(keys))), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(keys)]
