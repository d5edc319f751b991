"""Stored features: computed once, again where something changed, and never from half a file.

Features are compared to the bit: they are copied, or computed twice in the same way.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blob_data import SIZES, Blobs

from scmrl_plugins.core.data.prepare import feature_store, prepare
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.data.store import FeatureStore, Status, file_state
from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.system.progress import Progress
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
    monkeypatch.setattr(FeatureStore, "part_rows", 10)
    return Counted(monkeypatch)


def stored() -> list[Path]:
    return sorted(
        path for path in cache_dir().rglob("*") if path.suffix in (".arrow", ".json", ".end", ".partial")
    )


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


@pytest.mark.parametrize("chosen", [[47, 3, 31, 3], range(8, 23)], ids=["any", "contiguous"])
def test_a_subset_has_the_rows_of_its_indices(small: Small, counted: Counted, chosen: Sequence[int]) -> None:
    """Over the borders of the files; also of a subset, and pickled."""
    parts = small()
    train = prepare(parts.dataset, parts.config).splits["train"]
    assert len(train.paths) > 3
    rows = parts.dataset.splits()["train"]
    arrays, labels = parts.dataset.transform(rows[:]), rows["label"]
    subset = train.subset(chosen)
    twice = train.subset(range(5, len(train))).subset([index - 5 for index in chosen if index > 5])
    for split, indices in [(subset, chosen), (twice, [index for index in chosen if index > 5])]:
        for each in (split, pickle.loads(pickle.dumps(split))):
            assert len(each) == len(indices)
            for index, (found, label) in zip(indices, map(each.stored, range(len(each))), strict=True):
                assert label == labels[index]
                assert all(np.array_equal(found[name], arrays[name][index]) for name in arrays)
                assert found.keys() == arrays.keys()
            with pytest.raises(IndexError):
                each.stored(len(each))


@pytest.mark.slow
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


def test_the_status_tells_what_is_stored(small: Small, counted: Counted) -> None:
    parts = small()
    store = feature_store(parts.dataset, parts.config, "train", parts.dataset.splits())
    assert store.status() == Status(0, SIZES["train"])
    prepare(parts.dataset, parts.config, ["train"])
    assert store.status() == Status(SIZES["train"], SIZES["train"])
    stored()[0].with_suffix(".json").unlink()
    again = feature_store(parts.dataset, parts.config, "train", parts.dataset.splits())
    assert again.status().stored in (SIZES["train"] - 10, SIZES["train"] - SIZES["train"] % 10)


def flip(path: Path, share: float) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil",
    [
        *(lambda arrow, record, share=share: flip(arrow, share) for share in (0.0, 0.3, 0.6, 0.9, 1.0)),
        lambda arrow, record: arrow.write_bytes(arrow.read_bytes().replace(b"<f4", b"<i4")),
        lambda arrow, record: record.write_text(re.sub('"rows": [0-9]+', '"rows": 0', record.read_text())),
        lambda arrow, record: record.write_text(record.read_text().replace('"bad": []', '"bad": [["a", "b"]]')),
        lambda arrow, record: record.unlink(),
        lambda arrow, record: record.write_text("{"),
        lambda arrow, record: record.write_text("[1]"),
        lambda arrow, record: arrow.unlink(),
        lambda arrow, record: arrow.write_bytes(arrow.read_bytes()[:-1]),
    ],
)
def test_a_damaged_part_is_computed_again(
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


def test_a_process_verifies_a_part_once(
    small: Small, counted: Counted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = small()
    prepare(parts.dataset, parts.config)
    prepare(parts.dataset, parts.config)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", None)
        patched.setattr(Path, "read_text", None)
        assert prepare(parts.dataset, parts.config).computed == 0
    arrow = next(path for path in stored() if path.suffix == ".arrow")
    flip(arrow, 0.5)
    with Progress() as progress:
        assert prepare(parts.dataset, parts.config, progress=progress).computed
    assert f"{arrow}: the stored features are damaged; they are computed again" in capsys.readouterr().err


def test_leftovers_of_a_killed_process_are_removed(small: Small, counted: Counted) -> None:
    parts = small()
    prepare(parts.dataset, parts.config)
    expected = stored()
    left = expected[0].with_name(f".{expected[0].name}.abc123.partial")
    left.write_bytes(b"half")
    expected[0].with_suffix(".json").unlink()
    prepare(parts.dataset, parts.config)
    assert stored() == expected


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    before = file_state(str(path))
    inside = file_state(f"{path}#train/one")
    assert file_state(str(path)) == before
    if change == "content":
        path.write_bytes(b"other")
    else:
        os.utime(path, (time.time() + 5, time.time() + 5))
    assert file_state(str(path)) != before
    assert file_state(f"{path}#train/one") != inside


def test_the_record_is_plain_json(small: Small) -> None:
    parts = small()
    prepare(parts.dataset, parts.config, ["test"])
    record = json.loads(next(path for path in stored() if path.suffix == ".json").read_text())
    assert record["rows"] == SIZES["test"]
    assert record["bad"] == record["handled"] == []


def test_a_name_without_a_file_does_not_depend_on_the_working_directory() -> None:
    assert file_state("0001.wav") == "0001.wav"


@pytest.mark.usefixtures("obeying_modes")
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
