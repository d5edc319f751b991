"""Splits whose features are prepared: what they hold, and what bad files and absent splits do to them."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blob_data import SIZES, Blobs, spoil

from scmrl_plugins.core.data import store
from scmrl_plugins.core.data.loading import training_loader
from scmrl_plugins.core.data.prepare import Estimate, estimate, load_splits, prepare
from scmrl_plugins.core.data.store import FeatureStore
from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def test_splits_become_features(small: Small) -> None:
    parts = small()
    splits = load_splits(parts.dataset, parts.config)
    assert {name: len(split) for name, split in splits.items()} == SIZES
    row = splits["test"][4]
    assert row.keys() == {"audio", "visual", "label"}
    raw = parts.dataset.splits()["test"]
    expected = parts.dataset.transform(raw[4:5])
    assert np.array_equal(row["audio"], expected["audio"][0])
    assert np.array_equal(row["visual"], expected["visual"][0])
    assert row["label"] == raw[4]["label"]
    assert row["audio"].dtype == np.float32


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_an_empty_or_absent_split_is_named(small: Small, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = small()
    splits = parts.dataset.splits()
    for change in (None, splits[name].select([])):
        changed = {key: rows for key, rows in splits.items() if key != name}
        if change is not None:
            changed[name] = change
        monkeypatch.setattr(Blobs, "splits", lambda self, changed=changed: changed)
        with pytest.raises(UserError, match=f"'blobs' has no {name} samples"):
            load_splits(parts.dataset, parts.config)


def test_a_bad_file_stops_in_one_line(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "train-7", "test-1")
    parts = small()
    for _ in range(2):  # computed, and known from before
        with pytest.raises(BadFileError) as caught:
            prepare(parts.dataset, parts.config)
        assert str(caught.value) == (
            "train-7.wav: is noise; record it again; or leave such files out with --set data.on_bad=skip"
        )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_left_out(small: Small, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(FeatureStore, "part_rows", 10)
    spoil(monkeypatch, "train-7", "train-30", "test-1", repaired=("train-7", "train-8", "validation-2"))
    parts = small(sets=["data.on_bad=skip", f"train.workers={workers}"])
    for _ in range(2):
        found = prepare(parts.dataset, parts.config)
        assert found.bad == [
            (f"{name}.wav", "is noise; record it again") for name in ("train-7", "train-30", "test-1")
        ]
        assert found.repaired == [(f"{name}.wav", "was loud") for name in ("train-8", "validation-2")]
        assert {name: len(split) for name, split in found.splits.items()} == {
            "train": SIZES["train"] - 2,
            "validation": SIZES["validation"],
            "test": SIZES["test"] - 1,
        }
    loader, _ = training_loader([found.splits["train"]], parts.config)
    assert sum(len(batch["label"]) for batch in loader) == SIZES["train"] - 2


def test_files_that_are_in_no_split_count_too(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    lone = BadFileError("lone.wav", "has no picture; add it")
    monkeypatch.setattr(Blobs, "bad_files", lambda self: [lone], raising=False)
    parts = small()
    with pytest.raises(BadFileError, match=r"lone\.wav: has no picture"):
        prepare(parts.dataset, parts.config)
    assert prepare(parts.dataset, parts.config, on_bad="skip").bad == [("lone.wav", "has no picture; add it")]


def test_a_split_of_bad_files_alone_is_named(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, *(f"validation-{i}" for i in range(SIZES["validation"])))
    parts = small(sets=["data.on_bad=skip"])
    with pytest.raises(
        UserError, match="no validation sample that can be used: scmrl data check lists the reasons"
    ):
        prepare(parts.dataset, parts.config)


def test_rows_keep_their_order_shapes_and_types(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def transform(blobs: Blobs, rows: Mapping[str, list[Any]]) -> dict[str, Any]:
        numbers = [int(name.rpartition("-")[2]) for name in rows["id"]]
        return {
            "audio": [np.full((1, 8, 8), n, np.float32) for n in numbers],
            "visual": [np.full((2, 3 + n, 4), n, np.uint8) for n in numbers],
        }

    monkeypatch.setattr(FeatureStore, "part_rows", 7)
    monkeypatch.setattr(Blobs, "transform", transform)
    parts = small()
    split = prepare(parts.dataset, parts.config).splits["train"]
    for place in range(len(split)):
        sample = split[place]
        assert sample["audio"].dtype == np.float32
        assert (sample["audio"] == place).all()
        assert sample["visual"].dtype == np.uint8
        assert sample["visual"].shape == (2, 3 + place, 4)
        assert sample["label"] == place % 3


# Estimates --------------------------------------------------------------------------------------------


def test_an_estimate_counts_what_is_missing(small: Small) -> None:
    parts = small()
    rows = parts.dataset.splits()
    needed = estimate(parts.dataset, parts.config, rows, workers=0)
    assert needed is not None
    assert needed.samples == sum(SIZES.values())
    assert needed.seconds > 0
    arrays = parts.dataset.transform(rows["train"][:1])
    assert needed.size == needed.samples * sum(np.asarray(column[0]).nbytes for column in arrays.values())
    assert needed.free > 0
    assert estimate(parts.dataset, parts.config, rows, workers=0, least=needed.samples + 1) is None
    prepare(parts.dataset, parts.config)
    left = estimate(parts.dataset, parts.config, rows, workers=0)
    assert left is not None
    assert (left.samples, left.seconds, left.size) == (0, 0.0, 0)


def test_features_that_need_more_space_than_there_is() -> None:
    with pytest.raises(
        UserError, match=r"the features need about 2\.0 GiB, and 1\.0 GiB are free; .* SCMRL_CACHE"
    ):
        Estimate(10, 1.0, 2**31, 2**30, Path("features")).refuse_too_large()
    assert str(Estimate(7442, 200.0, 2**30, 2**33, Path("here"))) == (
        "7,442 samples to compute: about 3 min and 1.0 GiB; 8.0 GiB are free in here"
    )


# Memory -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_set(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureStore, "part_rows", 8)
    monkeypatch.setattr(
        Blobs,
        "transform",
        lambda self, rows: {
            name: [np.ones((1, 64, 64), np.float32) for _ in rows["id"]] for name in rows if name in self.channels
        },
    )
    peaks = {}
    for count in (32, 256):
        monkeypatch.setitem(SIZES, "train", count)
        parts = small(sets=[f"dataset.seed={count}"])
        rows = parts.dataset.splits()
        gc.collect()
        tracemalloc.start()
        try:
            assert len(prepare(parts.dataset, parts.config, rows=rows).splits["train"]) == count
            peaks[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peaks[256] < 1.05 * peaks[32] + 2**17  # the record of each part is kept; 256 samples are 8 MiB


def test_workers_share_the_libraries_of_a_data_set(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are imported before processes are forked; without workers they are when they are needed."""
    (tmp_path / "heavy_library.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Blobs, "libraries", ("heavy_library",), raising=False)
    monkeypatch.setattr(store, "map_items", lambda function, items, workers, source: map(function, items))
    for workers in (0, 2):
        parts = small(sets=[f"dataset.seed={workers}"])
        prepare(parts.dataset, parts.config, workers=workers)
        assert ("heavy_library" in sys.modules) == bool(workers)
