"""Which column of a Hugging Face data set is which, and which class a label is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from hub_data import (
    build,
    columns,
    write,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scmrl_plugins.plugins.datasets.hub.columns import Labels
from scmrl_plugins.plugins.datasets.hub.csv_types import column_type, kind_of
from scmrl_plugins.plugins.datasets.hub.dataset import Hub
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, table
from scmrl_plugins.registry import UserError


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_are_identified_or_must_be_named(tmp_path: Path, streaming: bool) -> None:
    cells = {"sound": ["a"] * 4, "speech": ["b"] * 4, "img": ["c"] * 4, "kind": ["x", "y"] * 2, "clip": [1.5] * 4}
    path = columns(tmp_path, **cells)
    rest = {"streaming": streaming, "classes": ("x", "y")}
    there = "sound, speech, img, kind, clip"
    with pytest.raises(
        UserError, match=rf"which column holds the sounds\? There are {there}: set dataset\.audio_co"
    ):
        build(path, **rest)
    with pytest.raises(UserError, match=r"which column holds the labels\?"):
        build(path, audio_column="speech", **rest)
    with pytest.raises(UserError, match=r"no column 'speach' \(did you mean 'speech'\?\)"):
        build(path, audio_column="speach", **rest)
    with pytest.raises(UserError, match=r"'clip' is of type (float64|double), and files or paths are required"):
        build(path, audio_column="clip", **rest)
    dataset = build(path, audio_column="speech", label_column="kind", **rest)
    assert (dataset.config.audio_column, dataset.config.visual_column) == ("speech", "img")
    row = next(iter(dataset.splits()["test"]))
    cell = row["audio"]
    assert (cell if streaming else Path(cell["path"]).name) == "b"
    # What a run keeps is whole: nothing is opened to build the data set of a run.
    shutil.rmtree(path)
    assert Hub.settle(dataset.config) == dataset.config


def test_a_type_says_more_than_a_name(tmp_path: Path) -> None:
    made = table(6).append_column("image_id", pyarrow.array(range(6))).rename_columns(["x", "y", "z", "audio"])
    feature = {"x": datasets.Audio(), "y": datasets.Image(), "z": datasets.ClassLabel(names=list(CLASSES))}
    made = made.cast(datasets.Features({**feature, "audio": datasets.Value("int64")}).arrow_schema)
    for split in ("train", "test"):
        write(
            tmp_path / "data" / f"{split}.parquet",
            dict(zip(made.column_names, made.columns, strict=True)),
            made.schema,
        )
    config = build(str(tmp_path / "data")).config
    assert (config.audio_column, config.visual_column, config.label_column) == ("x", "y", "z")


@pytest.mark.parametrize(
    ("values", "classes", "places"),
    [
        (["b", "a", "b", None], ("a", "b"), [1, 0, 1, -1]),
        ([10, 9, 10, -1], ("9", "10"), [1, 0, 1, -1]),
        ([0.0, 2.0, 1.0, None], ("0", "1", "2"), [0, 2, 1, -1]),
        ([True, False, True, None], ("false", "true"), [1, 0, 1, -1]),
    ],
)
def test_labels_of_any_type(
    tmp_path: Path, values: list[Any], classes: tuple[str, ...], places: list[int]
) -> None:
    dataset = build(columns(tmp_path, audio=["a"] * 4, image=["b"] * 4, label=values), validation=0.5)
    assert dataset.classes == classes
    found = dataset.splits()["test"]
    assert found["label"][:] == places
    assert [problem is None for problem in found["problem"]] == [place >= 0 for place in places]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["None", "NA", "null", "007", "7", "nan"], ("007", "7", "NA", "None", "nan", "null")),
        (["1.0", "v2"], ("1.0", "v2")),
        (["10", "9", "", "-1"], ("9", "10")),
        (["2.0", "1.0", ""], ("1", "2")),
        (["True", "False"], ("false", "true")),
    ],
)
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_cells_of_csv_stay_what_they_are(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...], mark: str
) -> None:
    for split in ("train", "test"):
        lines = [["audio", "image", "label"], *(["a.wav", "None", label] for label in labels)]
        text = "".join(f"{mark.join(line)}\r\n" for line in lines)
        (tmp_path / f"{split}.csv").write_bytes(text.encode("utf-8-sig"))
    dataset = build(str(tmp_path / "*.csv"), validation=0.5)
    assert dataset.classes == classes
    found = dataset.splits()["test"]
    assert found["visual"][0]["path"] == str(tmp_path / "None")
    assert [problem is None for problem in found["problem"]] == [label not in ("", "-1") for label in labels]


@given(st.lists(st.text() | st.integers().map(str) | st.floats().map(repr) | st.none(), min_size=1))
def test_a_column_of_csv_has_numbers_only_if_they_are_written_as_such(cells: list[str | None]) -> None:
    kind = column_type(set(map(kind_of, cells)))
    written = [cell for cell in cells if cell is not None]
    if kind == "int64":
        assert [str(int(cell)) for cell in written] == written
    elif kind == "float64":
        assert all(cell in (repr(float(cell)), str(int(float(cell)))) for cell in written)
    elif kind == "bool":
        assert {cell.lower() for cell in written} <= {"true", "false"}


@given(st.integers(2, 30), st.integers(-3, 40))
def test_numbers_are_places_of_words_and_names_of_numbers(count: int, value: int) -> None:
    words, numbers = [f"w{place}" for place in range(count)], [str(place * 2) for place in range(count)]
    whole = datasets.Value("int64")
    place = value if 0 <= value < count else -1
    assert Labels(whole, words)(value)[0] == place
    assert Labels(datasets.ClassLabel(names=words), words)(value)[0] == place
    assert Labels(datasets.ClassLabel(names=words), words[::-1])(value)[0] == (
        count - 1 - place if place >= 0 else -1
    )
    assert Labels(whole, numbers)(value)[0] == (value // 2 if value % 2 == 0 and 0 <= value < 2 * count else -1)
    for labels in (Labels(whole, words), Labels(whole, numbers)):
        found, problem = labels(value)
        assert (found == -1) == (problem is not None)


@pytest.mark.parametrize("value", [0.5, float("inf"), 1e300, 2**70, "", b"x"])
def test_labels_that_are_no_class(value: object) -> None:
    for feature in (datasets.Value("float64"), datasets.ClassLabel(names=["a", "b"])):
        place, problem = Labels(feature, ("a", "b"))(value)
        assert place == -1
        assert problem


def test_a_stream_of_plain_labels_needs_the_classes(tmp_path: Path) -> None:
    path = columns(tmp_path, audio=["a"], image=["b"], label=["c"])
    with pytest.raises(UserError, match=r"the labels of column .* of a stream are unknown; set dataset\.classes"):
        build(path, streaming=True)
    with pytest.raises(UserError, match=r"'label' holds 1 classes, but at least two are required"):
        build(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"path": ""},
        {"path": []},
        {"path": 3},
        {"path": "x", "classes": ["a"]},
        {"path": "x", "classes": ["a", "a"]},
        {"path": "x", "train_split": "a", "test_split": "a"},
        {"path": "x", "audio_column": "a", "label_column": "a"},
        {"path": "x", "limit": 0},
        {"path": "x", "root": "y"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Hub.Config.model_validate(settings)
