"""Rows in memory as a data set of Hugging Face's, whose own way of hashing them takes most of a test's time."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import datasets
from datasets.table import InMemoryTable


def row_table(columns: dict[str, list[Any]]) -> datasets.Dataset:
    """``Dataset.from_dict``, in a quarter of the time: the fingerprint is a hash of the columns."""
    fingerprint = hashlib.sha256(pickle.dumps(columns)).hexdigest()[:16]
    return datasets.Dataset(InMemoryTable.from_pydict(columns), fingerprint=fingerprint)
