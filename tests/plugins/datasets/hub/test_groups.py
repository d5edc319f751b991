"""Group columns of Hugging Face data sets: kept with the rows, and no group in two splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hub_data import build, write
from pydantic import ValidationError

from scmrl_plugins.core.data.transform import transform_rows
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, table
from scmrl_plugins.registry import UserError

COUNT = 60


def cells(first: int = 0, count: int = COUNT, **columns: Any) -> dict[str, Any]:
    made = table(count, first)
    return dict(zip(made.column_names, made.columns, strict=True)) | columns


@pytest.mark.parametrize("streaming", [False, True])
def test_splits_that_are_made_divide_no_group(tmp_path: Path, streaming: bool) -> None:
    speakers = [f"s{number % 12}" for number in range(COUNT)]
    path = str(write(tmp_path / "rows.parquet", cells(speaker=speakers)))
    dataset = build(path, group_columns=["speaker"], test=0.3, streaming=streaming, classes=CLASSES)
    assert tuple(dataset.group_columns) == ("speaker",)
    found = {name: list(split) for name, split in dataset.splits().items()}
    assert sum(map(len, found.values())) == COUNT
    groups = [{row["speaker"] for row in rows} for rows in found.values()]
    assert all(groups)
    assert sum(map(len, groups)) == 12
    for rows in found.values():
        assert all(row["speaker"] == speakers[int(row["id"].split("/")[1])] for row in rows)


def test_groups_of_several_columns(tmp_path: Path) -> None:
    """Speakers 0, 3, 6, 9 are in room 0, and so on: there are three sets that can be kept apart."""
    columns = {
        "speaker": [number % 12 for number in range(COUNT)],
        "room": [number % 3 for number in range(COUNT)],
    }
    path = str(write(tmp_path / "rows.parquet", cells(**columns)))
    splits = build(path, group_columns=["speaker", "room"], test=0.3).splits()
    assert sorted(room for split in splits.values() for room in {*split["room"][:]}) == ["0", "1", "2"]
    assert sorted(len({*split["speaker"][:]}) for split in splits.values()) == [4, 4, 4]
    with pytest.raises(UserError, match="can be divided by one column of groups only"):
        build(path, group_columns=["speaker", "room"], test=0.3, streaming=True, classes=CLASSES).splits()


def test_a_group_in_two_given_splits_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train.parquet", cells(0, 24, speaker=[f"s{number % 4}" for number in range(24)]))
    write(tmp_path / "data" / "test.parquet", cells(24, 9, speaker=["s9"] * 8 + ["s2"]))
    path = str(tmp_path / "data")
    with pytest.raises(
        UserError, match="data: group 's2' of column 'speaker' is in the splits train and test; keep"
    ):
        build(path, group_columns=["speaker"]).splits()
    assert set(build(path, group_column="speaker").splits()) == {"train", "validation", "test"}  # as it was


def test_columns_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = str(write(tmp_path / "rows.parquet", cells(speaker=["s"] * COUNT, noise=[[1.0]] * COUNT)))
    with pytest.raises(
        UserError, match=r"no column 'speeker' \(did you mean 'speaker'\?\).* dataset\.group_columns"
    ):
        build(path, group_columns=["speeker"], test=0.3)
    with pytest.raises(UserError, match=r"'noise' is of type List, .* correct dataset\.group_columns"):
        build(path, group_columns=["noise"], test=0.3)
    with pytest.raises(ValidationError, match="'label' is a column with another meaning"):
        build(path, group_columns=["label"])
    with pytest.raises(ValidationError, match="both set: use group_columns"):
        build(path, group_columns=["speaker"], group_column="speaker")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_without_a_group_is_bad(tmp_path: Path, streaming: bool) -> None:
    speakers = pyarrow.array(
        [None if number == 5 else "" if number == 8 else f"s{number}" for number in range(COUNT)]
    )
    path = str(write(tmp_path / "rows.parquet", cells(speaker=speakers)))
    dataset = build(path, group_columns=["speaker"], test=0.3, streaming=streaming, classes=CLASSES)
    problems = {row["id"]: row["problem"] for split in dataset.splits().values() for row in split}
    says = "its cell of column 'speaker' is empty; fill it or leave the row out"
    assert {row: problem for row, problem in problems.items() if problem} == {"train/5": says, "train/8": says}
    row = next(row for split in dataset.splits().values() for row in split if row["id"] == "train/5")
    done = transform_rows(dataset, {name: [cell] for name, cell in row.items()})
    assert (done.bad, done.ids, done.groups) == ([("train/5", says)], [], {"speaker": []})
