"""Stored features: computed once, again where something changed, and never from half a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blob_data import SIZES, Blobs

from scmrl_plugins.core.data import store
from scmrl_plugins.core.data.prepare import collate, prepare, training_loader
from scmrl_plugins.core.data.store import FeatureSplit, transform_rows
from scmrl_plugins.core.interfaces import BadFileError, Handled, cache_dir
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


class Counted:
    """Counts the rows that ``transform`` is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        original = Blobs.transform

        def transform(blobs: Blobs, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
            self.rows += len(rows["label"])
            return original(blobs, rows)

        monkeypatch.setattr(Blobs, "transform", transform)

    def taken(self) -> int:
        rows, self.rows = self.rows, 0
        return rows


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setattr(store, "ROWS", 10)
    return Counted(monkeypatch)


def stored() -> list[Path]:
    return sorted(path for path in cache_dir().rglob("*") if path.is_file() and path.name != ".lock")


def content(split: FeatureSplit) -> list[tuple[bytes, ...]]:
    return [tuple(np.asarray(value).tobytes() for value in split[index].values()) for index in range(len(split))]


def test_features_are_computed_once(small: Small, counted: Counted) -> None:
    parts = small()
    first = prepare(parts.dataset, parts.config)
    assert counted.taken() == first.computed == sum(SIZES.values())
    again = prepare(parts.dataset, parts.config)
    assert counted.taken() == again.computed == 0
    for name, split in first.splits.items():
        assert content(split) == content(again.splits[name])


def test_what_transform_depends_on_decides(
    small: Small, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(**sections: Any) -> int:
        parts = small(**sections)
        prepare(parts.dataset, parts.config)
        return counted.taken()

    everything = sum(SIZES.values())
    assert computed() == everything
    assert computed(dataset={"seed": 1}) == everything
    assert computed(model={"embed_dims": 16}) == everything  # for all that Blobs says
    assert computed(train={"batch_size": 2}, fusion={"name": "late"}) == 0
    monkeypatch.setattr(Blobs, "transform_key", lambda self: {"size": self.size}, raising=False)
    assert computed() == everything
    assert computed(model={"embed_dims": 32}) == 0
    assert computed(model={"image_size": 16}) == everything


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrow, record: record.unlink(),
        lambda arrow, record: record.write_text("{"),
        lambda arrow, record: record.write_text("[1]"),
        lambda arrow, record: arrow.unlink(),
        lambda arrow, record: arrow.write_bytes(arrow.read_bytes()[:-1]),
    ],
)
def test_half_a_file_is_computed_again(
    small: Small, counted: Counted, spoil: Callable[[Path, Path], None]
) -> None:
    parts = small()
    before = content(prepare(parts.dataset, parts.config, ["test"]).splits["test"])
    counted.taken()
    arrow = next(path for path in stored() if path.suffix == ".arrow")
    spoil(arrow, arrow.with_suffix(".json"))
    again = prepare(parts.dataset, parts.config, ["test"])
    assert 0 < counted.taken() == again.computed <= 10
    assert content(again.splits["test"]) == before


def test_leftovers_of_a_killed_process_are_removed(small: Small, counted: Counted) -> None:
    parts = small()
    prepare(parts.dataset, parts.config)
    expected = stored()
    left = expected[0].with_name(f".{expected[0].name}.abc123.partial")
    left.write_bytes(b"half")
    expected[0].with_suffix(".json").unlink()
    prepare(parts.dataset, parts.config)
    assert stored() == expected


class Bad:
    """Makes of some rows bad ones, by their ids, and mends some others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str, mended: tuple[str, ...] = ()) -> None:
        import warnings

        original = Blobs.transform

        def transform(blobs: Blobs, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
            for name in rows["id"]:
                if name in names:
                    raise BadFileError(f"{name}.wav", "is noise; record it again")
                if name in mended:
                    warnings.warn(Handled(f"{name}.wav", "was loud"), stacklevel=1)
            return original(blobs, rows)

        monkeypatch.setattr(Blobs, "transform", transform)


def test_a_bad_file_stops_in_one_line(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    Bad(monkeypatch, "train-7", "test-1")
    parts = small()
    for _ in range(2):  # computed, and known from before
        with pytest.raises(BadFileError) as caught:
            prepare(parts.dataset, parts.config)
        assert str(caught.value) == (
            "train-7.wav: is noise; record it again; or leave such files out with --set data.on_bad=skip"
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_left_out(small: Small, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(store, "ROWS", 10)
    Bad(monkeypatch, "train-7", "train-30", "test-1", mended=("train-7", "train-8", "validation-2"))
    parts = small(sets=["data.on_bad=skip", f"train.workers={workers}"])
    for _ in range(2):
        found = prepare(parts.dataset, parts.config)
        assert found.bad == [
            (f"{name}.wav", "is noise; record it again") for name in ("train-7", "train-30", "test-1")
        ]
        assert found.handled == [(f"{name}.wav", "was loud") for name in ("train-8", "validation-2")]
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
    Bad(monkeypatch, *(f"validation-{i}" for i in range(SIZES["validation"])))
    parts = small(sets=["data.on_bad=skip"])
    with pytest.raises(UserError, match="no validation sample that can be used: scmrl data check says why"):
        prepare(parts.dataset, parts.config)


def test_rows_keep_their_order_shapes_and_types(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def transform(blobs: Blobs, rows: Mapping[str, list[Any]]) -> dict[str, Any]:
        numbers = [int(name.rpartition("-")[2]) for name in rows["id"]]
        return {
            "audio": [np.full((1, 8, 8), n, np.float32) for n in numbers],
            "visual": [np.full((2, 3 + n, 4), n, np.uint8) for n in numbers],
        }

    monkeypatch.setattr(store, "ROWS", 7)
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


@pytest.mark.parametrize("workers", [0, 2])
def test_what_training_draws_follows_from_seed_epoch_and_sample(
    small: Small, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def inputs(blobs: Blobs, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        import torch

        return {name: array + (torch.rand(1).numpy() if training else 0) for name, array in stored.items()}

    monkeypatch.setattr(Blobs, "inputs", inputs, raising=False)

    def drawn(seed: int, epoch: int, batch_size: int = 16) -> dict[bytes, Any]:
        parts = small(sets=[f"train.seed={seed}", f"train.batch_size={batch_size}", f"train.workers={workers}"])
        split = prepare(parts.dataset, parts.config).splits["train"]
        loader, sampler = training_loader([split], parts.config)
        sampler.epoch = epoch
        batch = collate([sample for b in loader for sample in map(dict, _samples(b))])
        order = batch["label"].argsort(stable=True)
        return {name: np.sort(column[order].numpy().ravel()) for name, column in batch.items()}

    first = drawn(1, 0)
    assert _same(first, drawn(1, 0))
    assert _same(first, drawn(1, 0, batch_size=5))
    assert not _same(first, drawn(1, 1))
    assert not _same(first, drawn(2, 0))


def _samples(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{name: column[i].numpy() for name, column in batch.items()} for i in range(len(batch["label"]))]


def _same(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    return all(np.array_equal(column, other[name]) for name, column in one.items())


def test_drawing_leaves_the_generator_alone(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    parts = small()
    loader, sampler = training_loader([prepare(parts.dataset, parts.config).splits["train"]], parts.config)
    before = torch.get_rng_state()
    loader.dataset[next(iter(sampler))[0]]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    before = store._state(str(path))
    inside = store._state(f"{path}#train/one")
    assert store._state(str(path)) == before
    if change == "content":
        path.write_bytes(b"other")
    else:
        os.utime(path, (time.time() + 5, time.time() + 5))
    assert store._state(str(path)) != before
    assert store._state(f"{path}#train/one") != inside


def test_one_bad_row_costs_no_other(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    Bad(monkeypatch, "train-1", mended=("train-0", "train-2"))
    parts = small()
    outcome, arrays, kept = transform_rows(parts.dataset, "train", parts.dataset.splits()["train"][:3])
    assert [row["id"] for row in kept] == ["train-0", "train-2"]
    assert len(arrays) == outcome.rows == 2
    assert outcome.bad == [("train-1.wav", "is noise; record it again")]
    assert outcome.handled == [("train-0.wav", "was loud"), ("train-2.wav", "was loud")]


def test_the_record_is_plain_json(small: Small) -> None:
    parts = small()
    prepare(parts.dataset, parts.config, ["test"])
    record = json.loads(next(path for path in stored() if path.suffix == ".json").read_text())
    assert record["rows"] == SIZES["test"]
    assert record["bad"] == record["handled"] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_one_line(small: Small, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    parts = small()
    with pytest.raises(UserError, match=r"features cannot be stored here.*SCMRL_CACHE"):
        prepare(parts.dataset, parts.config)


def test_a_cache_that_is_a_file_is_one_line(small: Small, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    parts = small()
    with pytest.raises(UserError, match=r"features cannot be stored here.*SCMRL_CACHE"):
        prepare(parts.dataset, parts.config)
