"""Group columns of a table: kept with the samples, and no group in two splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from av_folder_data import folder, put, reasons, rows_of, write_csv, write_jsonl, write_parquet
from pydantic import ValidationError

from scmrl_plugins.registry import UserError

COLUMNS = {"speaker": lambda n: f"s{n % 6}", "room": lambda n: n // 12}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 12 samples."""
    for number in range(24):
        put(tmp_path / "train" / ("bell", "drum")[number % 2], f"{number:02d}", number)
    return tmp_path


def rows(root: Path, **columns: Callable[[int], object]) -> list[dict[str, object]]:
    """All samples without a split."""
    return [{key: cell for key, cell in row.items() if key != "split"} for row in rows_of(root, **columns)]


@pytest.mark.parametrize("names", [("speaker",), ("room", "speaker")])
def test_splits_that_are_made_divide_no_group(root: Path, names: tuple[str, ...]) -> None:
    columns = {"speaker": lambda n: f"s{n % 8}", "room": lambda n: n % 4}
    table = write_parquet(root / "table.parquet", rows(root, **columns))
    dataset = folder(manifest=str(table), group_columns=names, test=0.25, validation=0.3)
    splits = dataset.splits()
    assert tuple(dataset.group_columns) == names
    for name in names:
        found = [{*split[name][:]} for split in splits.values()]
        assert all(found)
        assert sum(map(len, found)) == len(set().union(*found)) == (8 if name == "speaker" else 4)
    by_id = {f"{row['audio']} {row['visual']}": row for row in rows(root, **columns)}
    for split in splits.values():
        for row in split.select_columns(["id", *names]):
            assert all(row[name] == str(by_id[row["id"]][name]) for name in names)


def test_a_group_in_two_given_splits_is_refused(root: Path) -> None:
    cells = [
        {**row, "split": "test" if number % 6 == 0 else "train"}
        for number, row in enumerate(rows(root, **COLUMNS))
    ]
    table = write_csv(root / "table.csv", cells)
    assert {*folder(manifest=str(table), group_columns=["speaker"]).splits()["test"]["speaker"][:]} == {"s0"}
    with pytest.raises(
        UserError, match=r"table\.csv: group '0' of column 'room' is in the splits train and test; keep"
    ):
        folder(manifest=str(table), group_columns=["speaker", "room"]).splits()


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_a_missing_column_is_named(root: Path, write: Callable[..., Path]) -> None:
    ending = {write_csv: "csv", write_jsonl: "jsonl", write_parquet: "parquet"}[write]
    table = write(root / f"table.{ending}", rows(root, **COLUMNS))
    with pytest.raises(UserError, match=r"no column 'speeker' \(did you mean 'speaker'\?\)"):
        folder(manifest=str(table), group_columns=["speeker"])


def test_a_sample_without_a_group_is_bad(root: Path) -> None:
    cells = rows(root, speaker=lambda n: {3: "", 5: "  "}.get(n, f"s{n}"))
    dataset = folder(manifest=str(write_jsonl(root / "t.jsonl", cells)), group_columns=["speaker"], test=0.25)
    assert sum(map(len, dataset.splits().values())) == 22
    assert [error.reason for error in dataset.bad_files()] == [
        "line 4, column 'speaker': is empty; write text or a whole number",
        "line 6, column 'speaker': is blank; write the name of a group",
    ]
    assert reasons(folder(manifest=str(root / "t.jsonl"), test=0.25)) == {}


def test_too_few_groups_to_divide(root: Path) -> None:
    table = write_csv(root / "table.csv", rows(root, speaker=lambda n: "one"))
    with pytest.raises(
        UserError, match="24 training samples cannot spare any for the test split, as no file or group"
    ):
        folder(manifest=str(table), group_columns=["speaker"], test=0.25).splits()


def test_folders_have_no_columns(root: Path) -> None:
    with pytest.raises(ValidationError, match="group_columns are columns of a table, but root is set"):
        folder(root=str(root), group_columns=["speaker"])
