"""What the cache holds and what of it is used."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blob_data import SIZES, Blobs

from scmrl_plugins.core.data import cache
from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.data.store import FeatureStore
from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.system import files

Small = Callable[..., Assembly]


def parts() -> list[Path]:
    return sorted(cache_dir().rglob("*.arrow"))


def age(days: float) -> None:
    """All files of the cache are from that many days ago."""
    then = time.time() - days * cache.DAY
    for path in cache_dir().rglob("*"):
        os.utime(path, (then, then))


def test_what_was_not_used_for_long_is_removed(small: Small) -> None:
    old, new = small(dataset={"seed": 1}), small()
    prepare(old.dataset, old.config)
    prepare(new.dataset, new.config)
    age(31)
    prepare(new.dataset, new.config)
    [used, unused] = sorted(cache.held(30), key=lambda folder: folder.unused)
    assert (used.kind, used.dataset, used.unused) == ("features", "blobs", 0)
    assert unused.used < time.time() - 30 * cache.DAY < used.used
    assert unused.unused == unused.size > 0
    assert cache.prune(30) == unused.size
    assert [folder.path for folder in cache.held(30)] == [used.path]
    assert not unused.path.exists()
    assert prepare(new.dataset, new.config).computed == 0
    assert prepare(old.dataset, old.config).computed == sum(SIZES.values())


def test_parts_of_earlier_rows_are_removed(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that changed have the folder of those before."""
    monkeypatch.setattr(Blobs, "transform_key", lambda self: {}, raising=False)
    monkeypatch.setattr(FeatureStore, "part_rows", 10)
    before, after = small(dataset={"seed": 1}), small()
    prepare(before.dataset, before.config)
    first = parts()
    prepare(after.dataset, after.config)
    second = [path for path in parts() if path not in first]
    age(31)
    prepare(after.dataset, after.config, ["train"])
    assert cache.prune(30) > 0
    assert 0 < len(parts()) < len(second)
    assert set(parts()) < set(second)
    assert prepare(after.dataset, after.config, ["train"]).computed == 0


def test_a_folder_that_is_written_to_is_left(small: Small) -> None:
    made = small()
    prepare(made.dataset, made.config)
    [folder] = cache.held(0)
    with files.waiting(folder.path / cache.LOCK, lambda: None):
        assert cache.prune(0) == 0
    assert cache.prune(0) == folder.size
    assert cache.held(0) == []


def test_lists_that_are_damaged_are_no_use(small: Small) -> None:
    made = small()
    prepare(made.dataset, made.config)
    for path in cache_dir().rglob("*.use"):
        path.write_text("[")
    age(31)
    [folder] = cache.held(30)
    assert folder.unused == folder.size
    assert folder.dataset.startswith("blobs-")


def test_a_record_that_another_process_clears_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that begins to fill the folder removes temporary files."""
    write = files.write_text

    def cleared(path: Path, text: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.replace", lambda self, _: self.unlink() or self.stat())
            write(path, text)

    monkeypatch.setattr(files, "write_text", cleared)
    cache.use(tmp_path, "blobs", [tmp_path / "a"])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(files, "write_text", write)
    cache.use(tmp_path, "blobs", [tmp_path / "a"])
    assert len(list(tmp_path.iterdir())) == 1
