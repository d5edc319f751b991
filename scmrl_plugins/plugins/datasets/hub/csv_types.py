"""The types of the columns of CSV files, such that no cell loses what is written in it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scmrl_plugins.plugins.datasets.files.tables import separator

if TYPE_CHECKING:
    import datasets

CHUNK = 10_000
"""Rows that are looked at together."""


def csv_options(files: Mapping[Any, Sequence[str]]) -> dict[str, Any]:
    """Options for datasets' reader of these CSV files by split.

    A cell is missing only if it is empty: None, NA and null are words. A column holds numbers where all its cells
    are numbers as Python writes them, and true or false where all are that; otherwise text, such as 007.
    """
    paths = [str(path) for paths in files.values() for path in paths]
    reading = {"sep": _separator(paths[0]), "keep_default_na": False, "na_values": [""], "skipinitialspace": True}
    return {**reading, "features": _features(paths, reading)}


def _separator(path: str) -> str:
    import fsspec

    with fsspec.open(path, "r", encoding="utf-8-sig", compression="infer") as file:
        return separator(file.readline())


def _features(paths: Sequence[str], reading: Mapping[str, Any]) -> datasets.Features:
    import datasets
    import pandas

    kinds: dict[str, set[str]] = {}
    for path in paths:
        for table in pandas.read_csv(path, dtype=str, chunksize=CHUNK, **reading):
            for name in table.columns:
                kinds.setdefault(str(name), set()).update(map(kind_of, table[name].unique()))
    return datasets.Features({name: datasets.Value(column_type(found)) for name, found in kinds.items()})


def kind_of(cell: Any) -> str:
    """What a cell is by itself: ``missing``, ``bool``, ``int64``, ``float64`` or ``string``."""
    if not isinstance(cell, str):
        return "missing"
    if cell in ("True", "TRUE", "true", "False", "FALSE", "false"):
        return "bool"
    with contextlib.suppress(ValueError):
        if abs(int(cell)) < 2**53 and str(int(cell)) == cell:
            return "int64"
    with contextlib.suppress(ValueError):
        if repr(float(cell)) == cell and math.isfinite(float(cell)):
            return "float64"
    return "string"


def column_type(kinds: set[str]) -> str:
    """The type of a column that has cells of these kinds."""
    if len(kinds) == 1 and "missing" not in kinds:
        return kinds.pop()
    numbers = kinds - {"missing"} <= {"int64", "float64"}
    return "float64" if numbers and kinds != {"missing"} else "string"
