"""The data set ``hub``: bad rows, stored features, and the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow
import pytest
import soundfile
from cli_runs import fork_python
from hub_data import (
    TEST,
    TRAIN,
    as_json,
    build,
    columns,
    write,
)
from hub_processes import computed
from planted_files import SMALL, assert_refused, prepared, scmrl, sets
from pyarrow import parquet

from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.data.check import check
from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.plugins.datasets.hub.cells import file_of
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, RATE, png, table, wav, write_tables
from scmrl_plugins.registry import UserError

BAD: dict[int, tuple[str, Any, str]] = {
    1: ("audio", {"bytes": wav(1)[:-20], "path": "1.wav"}, "is cut off"),
    2: ("image", {"bytes": b"\x89PNG\r\n\x1a\n" + bytes(99), "path": None}, "not an image that can be read"),
    3: ("audio", None, "its cell of column 'audio' is empty"),
    4: ("image", {"bytes": None, "path": None}, "its cell of column 'image' is empty"),
    5: ("label", -1, "its label is -1, which means none"),
    6: ("label", None, "its label is missing"),
    8: ("audio", {"bytes": b"", "path": "8.wav"}, "is empty (0 bytes)"),
    9: ("audio", {"bytes": None, "path": "gone.wav"}, "cannot be read (No such file or directory)"),
    10: ("audio", {"bytes": b"version https://git-lfs.github.com/spec/v1\n", "path": "l.wav"}, "git-lfs pointer"),
}


def silence() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(1000), RATE, format="WAV")
    return buffer.getvalue()


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """The miniature with bad rows in training, a silent one in the test, and others that are mended."""
    write_tables(tmp_path / "planted", TRAIN, TEST)
    for split in ("train", "test"):
        file = next((tmp_path / "planted" / "data").glob(f"{split}*"))
        made = parquet.read_table(file)
        cells = made.to_pydict()
        for row, (column, cell, _) in BAD.items() if split == "train" else ():
            cells[column][row] = cell
        if split == "test":
            cells["audio"][4] = {"bytes": silence(), "path": None}
            cells["audio"][5] = {"bytes": wav(5, 8000), "path": "slow.wav"}
        parquet.write_table(pyarrow.table(cells, schema=made.schema), file)
    return tmp_path / "planted"


@pytest.mark.parametrize("streaming", [False, True])
def test_bad_rows_are_found_and_left_out(planted: Path, streaming: bool) -> None:
    found = prepared("hub", path=planted, streaming=str(streaming).lower(), validation=0.25)
    reasons = dict(found.bad)
    assert len(found.bad) == len(reasons) == len(BAD) + 1
    for row, (column, cell, reason) in BAD.items():
        named = isinstance(cell, dict) and cell["path"]
        held = isinstance(cell, dict) and cell["bytes"] is not None
        path = f"train/{row}/{named or column}" if held else f"{planted}/{named}" if named else f"train/{row}"
        assert reason in reasons[path], reasons
    assert "nothing but silence" in reasons["test/4/audio"]
    repaired = (
        f"8000 Hz, resampled to {RATE} Hz, holds nothing above 4000 Hz, where features reach to {RATE // 2} Hz"
    )
    assert found.repaired == [("test/5/slow.wav", repaired)]
    kept = {name: len(split) for name, split in found.splits.items()}
    assert kept["train"] + kept["validation"] == TRAIN - len(BAD)
    assert kept["test"] == TEST - 1


@pytest.mark.parametrize("streaming", [False, True])
def test_each_bad_cell_is_reported_once(planted: Path, streaming: bool) -> None:
    dataset = build(str(planted), streaming=streaming)
    config = compose(options={"dataset": {"name": "hub"}})
    found = check(dataset, config, Progress.silent())
    assert len(found.bad) == len(BAD) + 1
    assert sum(found.samples.values()) - sum(found.good.values()) == len(BAD) + 1


@pytest.mark.parametrize("address", ["file:///etc/hostname", "simplecache::file:///etc/hostname", "zip://a::/b"])
def test_addresses_that_are_not_of_the_network(address: str) -> None:
    with pytest.raises(BadFileError, match=r"does not start with one of hf://, https://") as caught:
        file_of({"bytes": None, "path": address}, "train/0", "audio", "/base")
    assert caught.value.path == address


def test_an_address_of_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.open", lambda address, mode: io.BytesIO(bytes(9)))
    assert file_of("https://a/b.wav", "train/0", "audio", "/base")["bytes"] == bytes(9)
    monkeypatch.setattr("scmrl_plugins.plugins.datasets.hub.cells.LARGEST", 8)
    with pytest.raises(BadFileError, match=r"https://a/b\.wav: has more than"):
        file_of("https://a/b.wav", "train/0", "audio", "/base")


def test_a_stream_that_breaks_off_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = json.dumps({"audio": "a.wav", "image": "a.png", "label": "a"})
    settings = {"streaming": True, "classes": ("a", "b"), "test": 0.5}
    path.write_text(f"{row}\n{row}\n")
    dataset = build(str(path), **settings)
    path.write_text(f"{row}\n{row}\n{{nothing\n")
    with pytest.raises(UserError, match=r"the stream broke off|rows\.jsonl: cannot be read") as caught:
        check(dataset, compose(options={"dataset": {"name": "hub"}}), Progress.silent())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"rows\.jsonl: cannot be read \(ArrowInvalid: JSON parse error"):
        build(str(path), **settings)


@pytest.mark.parametrize("streaming", [False, True])
def test_sounds_as_arrays_of_samples(tmp_path: Path, streaming: bool) -> None:
    """As ``datasets`` decodes a column of sounds; a path in such a cell names no file."""
    samples, rate = soundfile.read(io.BytesIO(wav(3)), dtype="float32")
    cells: list[Any] = [{"path": "gone.wav", "array": samples, "sampling_rate": rate}] * 3
    cells[1] = {"path": "gone.wav", "array": [], "sampling_rate": rate}
    path = columns(tmp_path, audio=cells, image=[png(3)] * 3, label=["a", "b", "a"])
    dataset = build(path, streaming=streaming, classes=("a", "b"), validation=0.4)
    assert dataset.config.sample_rate == rate
    rows = [{key: [value] for key, value in row.items()} for row in dataset.splits()["test"]]
    file = {"audio": [{"bytes": wav(3), "path": None}], "visual": [None]}
    expected = dataset.transform(file)["audio"][0]
    for row in (rows[0], rows[2]):
        np.testing.assert_array_equal(dataset.transform(row)["audio"][0], expected)
        contents = dataset.inspect({key: value for key, (value,) in row.items()})
        assert contents.seconds == {"audio": len(samples) / rate}
    with pytest.raises(UserError, match=r"test/1/gone\.wav: the sound file holds no samples"):
        dataset.transform(rows[1])


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_the_command_line(planted: Path, tmp_path: Path, streaming: bool) -> None:
    settings = {"path": planted, "validation": 0.25, "streaming": str(streaming).lower()}
    options = sets({**SMALL, **{f"dataset.{name}": value for name, value in settings.items()}})
    run = tmp_path / "run"
    assert_refused(scmrl("train", "--dataset", "hub", *options, "-o", run), "train/", "data.on_bad=skip")
    outcome = scmrl("train", "--dataset", "hub", *options, "--set", "data.on_bad=skip", "-o", run)
    assert outcome.code == 0, outcome
    assert len(json.loads((run / "skipped.json").read_text())) == len(BAD) + 1
    outcome = scmrl("eval", run, "--json")
    assert json.loads(outcome.out)["n"] == TEST - 1
    if streaming:
        return
    shutil.rmtree(planted)  # a model needs no data to predict
    (tmp_path / "a.wav").write_bytes(wav(3))
    (tmp_path / "i.png").write_bytes(png(3))
    outcome = scmrl("predict", run, "--audio", tmp_path / "a.wav", "--visual", tmp_path / "i.png", "--json")
    assert {row["label"] for row in json.loads(outcome.out)["predictions"]} == {*CLASSES}


@pytest.mark.slow
def test_another_process_computes_nothing_again(tmp_path: Path) -> None:
    write_tables(tmp_path / "data", TRAIN, TEST)
    both = [{"path": str(tmp_path / "data"), "streaming": streaming} for streaming in ("false", "true")]
    for settings in both:
        assert computed(prepared("hub", **settings)) == TRAIN + TEST
    # A fork of another process than this one, whose strings have other hashes.
    again = fork_python("from hub_processes import compute_again; compute_again()", *map(json.dumps, both))
    assert again.code == 0, again.err
    assert json.loads(again.out) == [0, 0]
    # Files have one fingerprint: where one has changed, all are read again.
    file = next((tmp_path / "data" / "data").glob("test*"))
    parquet.write_table(table(TEST, 500), file)
    os.utime(file, ns=(1, 1))
    for settings in both:
        assert computed(prepared("hub", **settings)) == TRAIN + TEST


@pytest.mark.slow
def test_a_named_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = as_json(tmp_path / "data")
    assert computed(prepared("hub", path=path)) == TRAIN + TEST
    (tmp_path / "data" / "a b" / "test" / f"é{TRAIN}.wav").write_bytes(wav(999, 8000))
    assert computed(prepared("hub", path=path)) == TEST


@pytest.mark.parametrize(
    "changed",
    [{"limit": 4}, {"validation": 0.4}, {"label_column": "other"}, {"classes": ("horn", "drum", "bell")}],
)
def test_another_stream_has_features_of_its_own(tmp_path: Path, changed: dict[str, Any]) -> None:
    for split in ("train", "test"):
        made = table(TEST)
        made = made.append_column(made.schema.field("label").with_name("other"), made["label"])
        write(
            tmp_path / "data" / f"{split}.parquet",
            dict(zip(made.column_names, made.columns, strict=True)),
            made.schema,
        )
    settings = {"path": str(tmp_path / "data"), "streaming": True, "label_column": "label"}
    keys = [
        build(**{**settings, "classes": CLASSES, **more}).transform_key() for more in ({}, {"flip": 0.1}, changed)
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_video_is_identified_by_its_bytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for shade in (0, 80, 160, 240):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path = columns(
        tmp_path, audio=[wav(number) for number in range(4)], video=[buffer.getvalue()] * 4, label=["a", "b"] * 2
    )
    dataset = build(path, validation=0.5, frames=2)
    arrays = dataset.transform(dataset.splits()["test"][:1])
    first, second = arrays["visual"][0]
    assert first.mean() + 50 < second.mean()
