"""Features of rows that come as a stream: taken up where it was left, and never another stream's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from blob_data import SIZES, Blobs

from scmrl_plugins.core.data.prepare import Prepared, feature_store, prepare
from scmrl_plugins.core.data.store import FeatureStore, Status
from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
READ: list[str] = []
"""Every row that was read from a source, by its id."""
TABLES: dict[str, datasets.Dataset] = {}


def read(sources: list[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    for split, start in sources:
        for row in TABLES[split].select(range(start, min(start + 8, SIZES[split]))):
            READ.append(row["id"])
            yield row


@pytest.fixture(autouse=True)
def _streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The splits of ``blobs`` as streams of sources of eight rows each, and parts of five."""
    tables = Blobs.splits

    def splits(blobs: Blobs) -> datasets.IterableDatasetDict:
        TABLES.update(tables(blobs))
        return datasets.IterableDatasetDict(
            {
                split: datasets.IterableDataset.from_generator(
                    read, gen_kwargs={"sources": [(split, start) for start in range(0, count, 8)]}
                )
                for split, count in SIZES.items()
            }
        )

    monkeypatch.setattr(Blobs, "splits", splits)
    monkeypatch.setattr(FeatureStore, "part_rows", 5)
    READ.clear()


def content(found: Prepared) -> dict[str, list[bytes]]:
    return {
        name: [
            b"".join(np.asarray(value).tobytes() for value in split[place].values()) for place in range(len(split))
        ]
        for name, split in found.splits.items()
    }


def run(parts: Assembly, names: tuple[str, ...] = ("train",)) -> Prepared:
    READ.clear()
    return prepare(parts.dataset, parts.config, names)


def parts_of(suffix: str) -> list[Path]:
    """Stored files, in the order in which they were written."""
    found = (cache_dir() / "features").rglob(f"*{suffix}")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def test_a_stream_is_read_once(small: Small) -> None:
    parts = small()
    found = run(parts, ("train", "validation", "test"))
    assert {name: len(split) for name, split in found.splits.items()} == SIZES
    assert sorted(READ) == sorted(f"{split}-{row}" for split, count in SIZES.items() for row in range(count))
    assert content(run(parts, ("train", "validation", "test"))) == content(found)
    assert READ == []


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_stopped_one_resumes_from_its_source(small: Small, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    parts = small()
    transform = Blobs.transform
    calls = 0

    def stopped(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > stop:
            raise KeyboardInterrupt
        return transform(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "transform", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(parts)
    found = run(parts)
    assert found.counts["train"].computed == SIZES["train"] - 5 * stop
    assert int(READ[0].split("-")[1]) == 5 * stop // 8 * 8  # the start of the source that was being read
    monkeypatch.setenv("SCMRL_CACHE", str(cache_dir() / "fresh"))
    assert content(run(parts)) == content(found)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("lost", [set(), {0}, {3, 4, 8}, {9}, {*range(10)}])
def test_lost_parts_alone_are_computed_again(small: Small, lost: set[int], ends: bool) -> None:
    parts = small()
    complete = content(run(parts))
    records = parts_of(".json")
    assert len(records) == 10
    for place in lost:
        records[place].unlink()
    for marker in parts_of(".end") if ends else ():
        marker.unlink()
    found = run(parts)
    assert content(found) == complete
    assert found.counts["train"].computed == sum(min(5, SIZES["train"] - 5 * place) for place in lost)
    if not lost:
        assert len(READ) <= (8 if ends else 0)  # the last source, to see that it ends


def test_one_that_cannot_say_where_it_stands_is_read_anew(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.IterableDataset, "state_dict", lambda rows: {"of": rows})
    parts = small()
    complete = content(run(parts))
    for record in parts_of(".json")[4:]:
        record.unlink()
    assert content(run(parts)) == complete
    assert len(READ) == SIZES["train"]


def test_one_that_breaks_off_is_one_line(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = small()
    select = datasets.Dataset.select

    def broken(table: datasets.Dataset, rows: range) -> datasets.Dataset:
        if rows.start >= 24:
            raise ConnectionResetError("reset by peer")
        return select(table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(datasets.Dataset, "select", broken)
        with pytest.raises(
            UserError, match=r"train stream broke off after row 20 \(ConnectionResetError: .*resumes"
        ):
            run(parts)
    store = feature_store(parts.dataset, parts.config, "train", parts.dataset.splits())
    assert store.status() == Status(20, None)
    assert run(parts).counts["train"].before == 20


def test_an_address_that_does_not_answer_is_no_bad_row(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(blobs: Blobs, rows: Any) -> None:
        raise ConnectionError("hf://x: cannot be fetched")

    parts = small()
    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "transform", away)
        with pytest.raises(UserError, match=r"hf://x: cannot be fetched; the same command resumes"):
            run(parts)
    assert run(parts).bad == []


def test_another_configuration_is_another_stream(small: Small) -> None:
    assert run(small()).counts["train"].computed == SIZES["train"]
    assert run(small(dataset={"seed": 1})).counts["train"].computed == SIZES["train"]
