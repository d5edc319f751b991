"""Rows of Hugging Face data sets: divided into splits, limited, and left in their files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hub_data import (
    build,
    ids,
    rows,
    write,
)

from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, table, write_tables
from scmrl_plugins.registry import UserError


def test_the_seed_decides_what_is_for_validation(written: Path) -> None:
    first, again, other = (ids(build(str(written), seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first["validation"] != other["validation"]
    assert first["test"] == other["test"]
    for found in (first, other):
        assert not {*found["train"]} & {*found["validation"]}
        assert Counter(int(row.split("/")[1]) % 3 for row in found["validation"]) == {0: 2, 1: 2, 2: 2}


@pytest.mark.parametrize("streaming", [False, True])
def test_splits_by_their_usual_and_by_other_names(tmp_path: Path, streaming: bool) -> None:
    for split, count in (("training", 6), ("dev", 3), ("eval", 4)):
        write(
            tmp_path / "data" / f"{split}.parquet",
            dict(zip(table(0).column_names, table(count).columns, strict=True)),
        )
    (tmp_path / "data" / "README.md").write_text(
        "---\nconfigs:\n- config_name: small\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {split}.parquet\n" for split in ("training", "dev", "eval"))
        + "- config_name: other\n  data_files: dev.parquet\n---\n"
    )
    path = str(tmp_path / "data")
    settings = {"subset": "small", "streaming": streaming, "classes": CLASSES}
    found = ids(build(path, test_split="eval", **settings))
    assert {name: len(own) for name, own in found.items()} == {"train": 6, "validation": 3, "test": 4}
    assert found["validation"][0] == "dev/0"
    with pytest.raises(UserError, match=r"no split test; there are training, dev, eval: set dataset\.test_split"):
        build(path, **settings).splits()
    with pytest.raises(UserError, match=r"no split 'evl' \(did you mean 'eval'\?\)"):
        build(path, test_split="evl", **settings).splits()
    with pytest.raises(UserError, match=r"set dataset\.subset to one of them"):
        build(path, subset="smal", classes=CLASSES).splits()
    with pytest.raises(UserError, match=r"'dev' is the test split already; remove dataset\.test"):
        build(path, test_split="dev", test=0.2, **settings).splits()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("group", [None, "speaker"])
def test_training_rows_become_a_test(tmp_path: Path, streaming: bool, group: str | None) -> None:
    count = 300
    cells = {
        "audio": ["a.wav"] * count,
        "image": ["a.png"] * count,
        "label": [number % 10 for number in range(count)],
        "speaker": [f"s{number * 7919 % 40}" for number in range(count)],
    }
    path = str(write(tmp_path / "rows.parquet", cells))
    settings = {"streaming": streaming, "group_column": group, "classes": tuple("0123456789")}
    with pytest.raises(UserError, match=r"no split test; there are train: .* or dataset\.test to the share"):
        build(path, **settings).splits()
    found = ids(build(path, test=0.2, validation=0.25, **settings))
    assert sorted(row for own in found.values() for row in own) == sorted(f"train/{i}" for i in range(count))
    slack = 40 if group else 5
    assert abs(len(found["test"]) - 60) < slack
    assert abs(len(found["validation"]) - 60) < slack
    numbers = {name: [int(row.split("/")[1]) for row in own] for name, own in found.items()}
    if group:
        speakers = [{cells["speaker"][number] for number in own} for own in numbers.values()]
        assert sum(map(len, speakers)) == 40
    else:  # every class is in every split, though the classes come in turn
        for own in numbers.values():
            assert {cells["label"][number] for number in own} == set(range(10))


def test_a_limit_is_spread_over_a_table_and_the_start_of_a_stream(written: Path) -> None:
    assert ids(build(str(written), limit=3))["test"] == ["test/0", "test/3", "test/6"]
    found = ids(build(str(written), limit=3, streaming=True))
    assert found["test"] == ["test/0", "test/1", "test/2"]
    assert len(found["train"]) == len(found["validation"]) == 3
    assert ids(build(str(written), limit=1000)) == ids(build(str(written)))


def test_too_few_rows_to_divide(tmp_path: Path) -> None:
    write_tables(tmp_path / "data", 3, 1)
    assert len(rows(build(str(tmp_path / "data"), validation=0.01), "validation")) == 1
    with pytest.raises(UserError, match=r"1 training rows cannot spare a share of 0\.5 for the validation split"):
        build(str(tmp_path / "data"), validation=0.5, test_split="train", train_split="test").splits()


@pytest.mark.slow
def test_rows_stay_in_their_files(tmp_path: Path) -> None:
    """Large cells of either width are read from disk, some rows at a time."""
    size, count = 200_000, 60
    noise = np.random.default_rng(0).integers(0, 256, size=(count, size), dtype=np.uint8)
    for kind in (pyarrow.binary(), pyarrow.large_binary()):
        root = tmp_path / str(kind)
        cells = {
            "audio": pyarrow.array([row.tobytes() for row in noise], kind),
            "image": pyarrow.array([row.tobytes() for row in noise], kind),
            "label": [f"{number % 2}" for number in range(count)],
        }
        for split in ("train", "test"):
            write(root / f"{split}.parquet", cells)
        dataset = build(str(root))
        before = pyarrow.total_allocated_bytes()
        splits = dataset.splits()
        assert sum(map(len, splits.values())) == 2 * count
        assert pyarrow.total_allocated_bytes() - before < 2 * size
        assert splits["train"][0]["audio"]["bytes"] == noise[int(splits["train"]["id"][0].split("/")[1])].tobytes()
