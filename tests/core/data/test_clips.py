"""A table of the clips in a folder, and what it is good for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from planted_files import assert_refused, scmrl, sets

from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in two splits, a clip without sound, half of one, and a still one; not to be changed."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(12):
        split, name = ("train", "train", "Test")[number % 3], ("dog", "cat")[number % 2]
        write_clip(folder / split / name / f"{number:02}.mp4", number)
    write_clip(folder / "train" / "dog" / "still.mov", 20, moving=False)
    half = write_clip(folder / "train" / "cat" / "half.mp4", 21)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    write_clip(folder / "train" / "cat" / "silent.mov", 22, loud=0.0)
    (folder / "train" / "cat" / "notes.txt").write_text("passed over")
    (folder / "train" / ".hidden.mp4").write_text("passed over")
    return folder


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_table_describes_every_clip_and_trains(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))
    table = tmp_path / "tables" / "clips.csv"
    done = scmrl("data", "import-video", clips, "-o", table, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    rows = rows_of(table)
    assert found["n"] == len(rows) == 15
    for row in rows:
        assert (table.parent / row["visual"]).is_file()
        assert row["audio"] == row["visual"]
        assert (row["split"], row["label"]) == (
            Path(row["visual"]).parts[-3].lower(),
            Path(row["visual"]).parts[-2],
        )
        assert int(row["bytes"]) == (table.parent / row["visual"]).stat().st_size
    good = next(row for row in rows if row["visual"].endswith("00.mp4"))
    assert float(good["duration"]) == pytest.approx(0.5, abs=0.1)
    assert (good["sample_rate"], good["frame_rate"], good["width"], good["height"], good["fault"]) == (
        *("16000", "12.0", "32", "24", ""),
    )
    faults = {Path(row["visual"]).name: row["fault"] for row in rows if row["fault"]}
    assert {*faults} == {"still.mov", "half.mp4", "silent.mov"} == {Path(bad["path"]).name for bad in found["bad"]}
    assert "a still picture" in faults["still.mov"]
    assert "cut off" in faults["half.mp4"]
    assert "nothing but silence" in faults["silent.mov"]

    options = sets({"dataset.manifest": table, "model.image_size": 16, "data.on_bad": "skip"})
    prepared = json.loads(scmrl("data", "prepare", "av-folder", *options, "--json").out)
    assert sum(split["samples"] for split in prepared["splits"].values()) == 13


@pytest.mark.slow
def test_parquet_says_the_same(clips: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    for name in ("clips.csv", "clips.parquet"):
        assert scmrl("data", "import-video", clips, "-o", tmp_path / name).code == 0
    stored = parquet.read_table(tmp_path / "clips.parquet").to_pylist()
    as_text = [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in stored]
    assert as_text == rows_of(tmp_path / "clips.csv")


def test_folders_and_tables_that_cannot_be_used(clips: Path, tmp_path: Path) -> None:
    assert_refused(scmrl("data", "import-video", clips, "-o", tmp_path / "a.xlsx"), "a.xlsx", ".csv or .parquet")
    assert_refused(scmrl("data", "import-video", tmp_path / "no", "-o", tmp_path / "a.csv"), "no: not a folder")
    (tmp_path / "empty").mkdir()
    assert_refused(scmrl("data", "import-video", tmp_path / "empty", "-o", tmp_path / "a.csv"), "holds no clip")
