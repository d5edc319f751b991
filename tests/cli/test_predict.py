"""``scmrl predict`` for many files, and for parts of long ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_runs import Outcome, assert_refused, invoke
from PIL import Image

LABELS = set("0123456789")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, and a pair with a sound that is none."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for name in ("a", "b", "c", "bad"):
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, 4000), 8000)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "bad.wav").write_bytes(b"no sound")
    return folder


def predict(run: Path, *args: str | Path) -> Outcome:
    return invoke("predict", run, *args, "--device", "cpu")


def lines(done: Outcome) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.mark.slow
def test_a_folder_and_a_table_are_their_pairs(trained: Path, folder: Path, tmp_path: Path) -> None:
    done = predict(trained, "--folder", folder, "--json", "--batch-size", "2")
    found = lines(done)
    assert [line["name"] for line in found] == ["a", "b", "c"]
    failed, throughput = done.err.splitlines()
    assert failed.startswith("failed: bad: ")
    assert "bad.wav" in failed
    assert throughput.startswith("3 samples in ")
    assert throughput.endswith(" samples/s on cpu; 1 failed")

    table = tmp_path / "t.jsonl"
    rows = [
        {"audio": str(folder / f"{name}.wav"), "visual": str(folder / f"{name}.png"), "id": name} for name in "ab"
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    listed = lines(predict(trained, "--manifest", table, "--json", "--batch-size", "2"))
    assert listed == found[:2]

    one = predict(trained, "--audio", folder / "c.wav", "--visual", folder / "c.png", "--json")
    alone = json.loads(one.out)["predictions"]
    assert {entry["label"] for entry in alone} == LABELS
    probabilities = [
        {entry["label"]: entry["probability"] for entry in each} for each in (alone, found[2]["predictions"])
    ]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)
    assert one.err.startswith("1 sample in ")


@pytest.mark.slow
def test_a_csv_file_and_a_table_to_read(trained: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.csv"
    done = predict(trained, "--folder", folder, "-o", path, "--top-k", "2")
    assert done.out == f"predictions: {path}\n"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert list(rows[0]) == ["name", "label", "probability", "label_2", "probability_2"]
    expected = lines(predict(trained, "--folder", folder, "--json", "--top-k", "2"))
    for row, line in zip(rows, expected, strict=True):
        assert len(line["predictions"]) == 2
        assert (row["label"], float(row["probability"])) == tuple(line["predictions"][0].values())
    shown = predict(trained, "--folder", folder).out
    assert [word for word in shown.split() if word in ("a", "b", "c")] == ["a", "b", "c"]


@pytest.mark.slow
def test_windows_are_predicted_as_if_cut(trained: Path, folder: Path, tmp_path: Path) -> None:
    samples = np.concatenate([np.random.default_rng(1).normal(0, 0.1, 4000), np.zeros(4000)])
    soundfile.write(tmp_path / "long.wav", samples, 8000)
    picture = folder / "a.png"
    done = predict(
        trained,
        "--audio",
        tmp_path / "long.wav",
        "--visual",
        picture,
        "--window",
        "0.25",
        "--json",
        "--batch-size",
        "1",
    )
    found = lines(done)
    assert [(line["name"], line["start"], line["end"]) for line in found] == [
        ("long.wav a.png", 0.0, 0.25),
        ("long.wav a.png", 0.25, 0.5),
    ]
    assert done.err.count("failed: long.wav a.png at ") == 2
    assert "nothing but silence" in done.err
    soundfile.write(tmp_path / "part.wav", soundfile.read(tmp_path / "long.wav")[0][2000:4000], 8000)
    cut = json.loads(predict(trained, "--audio", tmp_path / "part.wav", "--visual", picture, "--json").out)
    assert cut["predictions"] == found[1]["predictions"]

    table = tmp_path / "t.csv"
    table.write_text(f"audio,visual,start,seconds\nlong.wav,{picture},0.25,0.25\nlong.wav,{picture},2,1\n")
    done = predict(trained, "--manifest", table, "--json")
    [row] = lines(done)
    assert {**row, "name": found[1]["name"]} == found[1]
    assert "at 2 s: " in done.err
    assert "its sound ends at 1.00 s" in done.err
    assert_refused(predict(trained, "--manifest", table, "--window", "1"), "its rows say which parts")
    table.write_text(f"audio,visual,start\npart.wav,{picture},0\n")
    done = predict(trained, "--manifest", table, "--json")
    assert lines(done) == [{"name": f"part.wav {picture}", "start": 0, "end": None, **cut}]


def test_nothing_that_works_is_an_error(trained: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound")
    before = tmp_path / "p.csv"
    before.write_text("kept")
    done = predict(trained, "--folder", tmp_path, "-o", before)
    assert done.code == 2
    assert done.out == ""
    assert done.err.splitlines()[-1] == "Error: nothing could be classified: 1 of 1 failed"
    assert before.read_text() == "kept"
    for args, words in (
        (["--folder", folder / "a.wav"], "--manifest"),
        (["--manifest", folder], "--folder"),
        (["--folder", folder, "--audio", folder / "a.wav"], "--audio and --folder: give one of them"),
        (["--folder", folder, "-o", "p.txt"], ".csv"),
        (["--folder", folder, "--hop", "1"], "--window"),
        (["--folder", folder, "--window", "nan"], "--window"),
        (["--visual", folder / "a.png", "--audio", folder / "a.png", "--window", "1"], "a.png"),
        ([], "nothing to classify"),
    ):
        done = predict(trained, *args)
        assert done.code == 2
        assert words in done.err
        assert "Traceback" not in done.err
    assert_refused(predict(trained, "--audio", folder / "a.wav", "--window", "1"), "'cmrl' needs visual")
