"""Rows to arrays: a bad row costs no other, and repairs are noted for the rows that are kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from blob_data import spoil

from scmrl_plugins.core.data.transform import transform_rows
from scmrl_plugins.core.model.assembly import Assembly

Small = Callable[..., Assembly]


def test_one_bad_row_costs_no_other(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "train-1", repaired=("train-0", "train-2"))
    parts = small()
    batch = transform_rows(parts.dataset, parts.dataset.splits()["train"][:3])
    assert batch.ids == ["train-0", "train-2"]
    assert len(batch.arrays) == len(batch.labels) == 2
    assert batch.bad == [("train-1.wav", "is noise; record it again")]
    assert batch.repaired == [("train-0.wav", "was loud"), ("train-2.wav", "was loud")]
