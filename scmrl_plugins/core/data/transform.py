"""Transform a data set's rows to arrays, and separate bad rows from good ones."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError, Dataset, RepairedFileWarning
from scmrl_plugins.registry import UserError

LONGEST_GROUP = 500
"""Of the name of a group, in characters."""
Rows = Mapping[str, list[Any]]
"""A batch of rows by column."""
Arrays = Mapping[str, np.ndarray]
"""The arrays of one sample by modality."""
FileNotes = list[tuple[str, str]]
"""Paths, each with the reason why the file is bad, or with what was repaired in it."""


@dataclass
class Transformed:
    """The good rows of a batch as arrays, ids, labels and groups; and its bad and its repaired files."""

    arrays: list[Arrays] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    bad: FileNotes = field(default_factory=list)
    repaired: FileNotes = field(default_factory=list)


def transform_rows(dataset: Dataset, rows: Rows) -> Transformed:
    """Transform a batch of rows; where that fails, each row by itself, so that only the bad ones are left out."""
    result = Transformed()
    with collect_repairs() as repairs:
        try:
            batch: list[Arrays | None] = list(_by_row(dataset.transform(rows)))
        except UserError:
            repairs.clear()
            singles = ({key: [cell] for key, cell in row.items()} for row in _by_row(rows))
            batch = [_transform_one(dataset, single, result.bad) for single in singles]
    result.repaired = [(repair.path, repair.what) for repair in repairs]
    for arrays, name, label in zip(batch, rows["id"], rows["label"], strict=True):
        if arrays is not None:
            result.arrays.append({key: np.asarray(array) for key, array in arrays.items()})
            result.ids.append(str(name))
            result.labels.append(int(label))
    for column, values in groups_of(dataset, rows).items():
        result.groups[column] = [value for value, arrays in zip(values, batch, strict=True) if arrays is not None]
    return result


def groups_of(dataset: Dataset, rows: Rows) -> dict[str, list[str]]:
    """The group columns of a batch of rows; ``UserError`` if one is missing, or a sample has no group."""
    groups = {}
    for column in dataset.group_columns:
        if column not in rows:
            raise UserError(f"the data has no column {column!r}, which is a group column of the data set")
        values = groups[column] = list(rows[column])
        if long := next((value for value in values if len(str(value)) > LONGEST_GROUP), None):
            raise UserError(f"a {column!r} has {len(str(long)):,} characters: shorten it to {LONGEST_GROUP}")
        if None in values:
            name = rows["id"][values.index(None)]
            raise UserError(f"sample {name!r} has no {column!r}, a group column of the data set; give it one")
    return {column: [str(value) for value in values] for column, values in groups.items()}


def _by_row(columns: Mapping[str, Iterable[Any]]) -> Iterator[dict[str, Any]]:
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(columns, cells, strict=True))


def _transform_one(dataset: Dataset, row: Rows, bad: FileNotes) -> Arrays | None:
    """The arrays of a single row, or none; the reason then goes to ``bad``."""
    try:
        return next(_by_row(dataset.transform(row)))
    except BadFileError as error:
        bad.append((error.path, error.reason))
    except UserError as error:
        bad.append((str(row["id"][0]), str(error)))
    return None


@contextlib.contextmanager
def collect_repairs() -> Iterator[list[RepairedFileWarning]]:
    """Collect the warnings about repaired files that the block raises; others are shown as usual."""
    repairs: list[RepairedFileWarning] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(message: Any, *details: Any, **options: Any) -> None:
            if isinstance(message, RepairedFileWarning):
                repairs.append(message)
            else:
                show(message, *details, **options)

        warnings.simplefilter("always", RepairedFileWarning)
        warnings.showwarning = collect
        yield repairs


def bad_files(dataset: Dataset) -> FileNotes:
    """The files that a data set left out of its splits, each with the reason."""
    return [(error.path, error.reason) for error in dataset.bad_files()]
