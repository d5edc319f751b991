"""Hugging Face data sets: every form on disk, as a table and as a stream, and what is wrong in them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import datasets
import huggingface_hub
import numpy as np
import pyarrow
import pytest
import soundfile
from fake_hub import COMMIT, serve
from hypothesis import given
from hypothesis import strategies as st
from paths import HELPERS
from planted_files import SMALL, assert_refused, prepared, scmrl, sets
from pyarrow import parquet
from pydantic import ValidationError

from scmrl_plugins.core.data.prepare import Prepared
from scmrl_plugins.core.interfaces import MODALITIES, ModelConfig
from scmrl_plugins.plugins.datasets.hub.columns import Labels
from scmrl_plugins.plugins.datasets.hub.dataset import Hub
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, RATE, png, table, wav, write_tables
from scmrl_plugins.registry import UserError

HERE = Path(__file__).parent
NAMES = ("train", "validation", "test")
TRAIN, TEST = 24, 9


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature: 24 rows to train and 9 to test, of three classes in turn; not to be changed."""
    root = tmp_path_factory.mktemp("hub")
    write_tables(root, TRAIN, TEST)
    return root


@pytest.fixture(autouse=True)
def _cache(cache: Path) -> None:
    """Nothing here touches the user's own cache."""


def build(path: object, **settings: object) -> Hub:
    """The data set as the commands build it: with the classes looked up."""
    config = Hub.Config.model_validate({"path": path, "validation": 0.25, **settings})
    return Hub(Hub.settle(config), ModelConfig(image_size=16))


def rows(dataset: Hub, name: str) -> list[dict[str, Any]]:
    return list(dataset.splits()[name])


def ids(dataset: Hub) -> dict[str, list[str]]:
    return {name: [row["id"] for row in split] for name, split in dataset.splits().items()}


def content(dataset: Hub) -> dict[str, dict[str, tuple[str, str]]]:
    """By split and id, the class and a digest of what a row is transformed to."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for name, split in dataset.splits().items():
        found[name] = {}
        for row in split:
            arrays = dataset.transform({key: [value] for key, value in row.items()})
            digest = hashlib.sha256(b"".join(arrays[modality][0].tobytes() for modality in MODALITIES))
            found[name][row["id"]] = (dataset.classes[row["label"]], digest.hexdigest())
    return found


def write(path: Path, cells: Mapping[str, Any], schema: pyarrow.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(dict(cells), schema=schema), path)
    return path


def expected(dataset: Hub) -> dict[str, dict[str, tuple[str, str]]]:
    """What ``content`` must be, from the numbers that the files of a row were made of."""
    found: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in NAMES}
    for name, row in [(name, row) for name, own in ids(dataset).items() for row in own]:
        split, number = row.split("/")
        file = int(number) + (TRAIN if split == "test" else 0)
        arrays = dataset.transform(
            {"audio": [{"bytes": wav(file), "path": None}], "visual": [{"bytes": png(file), "path": None}]}
        )
        digest = hashlib.sha256(b"".join(arrays[modality][0].tobytes() for modality in MODALITIES))
        found[name][row] = (CLASSES[file % 3], digest.hexdigest())
    return found


def other_process(function: str, *arguments: str, **environment: str) -> Any:
    """What a function of this file prints in a process of its own."""
    program = f"import sys; sys.path[:0] = {[str(HERE), str(HELPERS)]}; import test_hub; test_hub.{function}()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Forms on disk


def as_folder(root: Path) -> object:
    write_tables(root, TRAIN, TEST)
    return str(root)


def as_glob(root: Path) -> object:
    write_tables(root, TRAIN, TEST)
    return str(root / "*" / "*.parquet")


def as_files(root: Path) -> object:
    write_tables(root / "x", TRAIN, TEST)
    first, second = sorted((root / "x" / "data").iterdir())
    return [str(second), str(first)]


def as_shards(root: Path) -> object:
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    for shard in range(4):
        parquet.write_table(table(6, 6 * shard), root / "train" / f"{shard}.parquet")
    parquet.write_table(table(TEST, TRAIN), root / "test" / "0.parquet")
    return str(root / "**" / "*.parquet")


def plain(root: Path, split: str, first: int, count: int) -> dict[str, list[Any]]:
    """Files in folders, named from the root, and words for labels."""
    cells: dict[str, list[Any]] = {"audio": [], "image": [], "label": []}
    for file in range(first, first + count):
        (root / "a b" / split).mkdir(parents=True, exist_ok=True)
        (root / "a b" / split / f"é{file}.wav").write_bytes(wav(file))
        (root / "a b" / split / f"é{file}.png").write_bytes(png(file))
        cells["audio"].append(f"a b/{split}/é{file}.wav")
        cells["image"].append(f"a b/{split}/é{file}.png")
        cells["label"].append(CLASSES[file % 3])
    return cells


def both(root: Path, cells: Callable[[Path, str, int, int], Mapping[str, Any]], ending: str = ".parquet") -> str:
    """Both splits, as tables of what ``cells`` says."""
    root.mkdir()
    for split, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        made = pyarrow.table(dict(cells(root, split, first, count)))
        file = root / f"{split}{ending}"
        if ending == ".parquet":
            parquet.write_table(made, file)
        elif ending == ".csv":
            made.to_pandas().to_csv(file, index=False)
        elif ending == ".arrow":
            with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, made.schema) as writer:
                writer.write_table(made)
        else:
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.to_pylist()))
    return str(root / f"*{ending}")


def as_json(root: Path) -> object:
    return both(root, plain, ".jsonl")


def as_csv(root: Path) -> object:
    return both(root, plain, ".csv")


def as_arrow(root: Path) -> object:
    return both(root, plain, ".arrow")


def as_binary(root: Path) -> object:
    def cells(root: Path, split: str, first: int, count: int) -> dict[str, Any]:
        files = range(first, first + count)
        return {
            "sound": pyarrow.array([wav(file) for file in files], pyarrow.large_binary()),
            "picture": [png(file) for file in files],
            "class": pyarrow.array([CLASSES[file % 3] for file in files], pyarrow.large_string()),
        }

    return both(root, cells)


def as_paths_in_structs(root: Path) -> object:
    def cells(root: Path, split: str, first: int, count: int) -> dict[str, Any]:
        made = plain(root, split, first, count)
        sounds = [{"bytes": None, "path": path} for path in made["audio"]]
        return {**made, "audio": pyarrow.array(sounds, datasets.Audio().pa_type)}

    return both(root, cells)


def as_images_with_sounds(root: Path) -> object:
    for split, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        (root / split).mkdir(parents=True)
        lines = []
        for file in range(first, first + count):
            (root / split / f"{file}.png").write_bytes(png(file))
            (root / split / f"{file}.wav").write_bytes(wav(file))
            cells = {"file_name": f"{file}.png", "audio_file_name": f"{file}.wav", "label": CLASSES[file % 3]}
            lines.append(json.dumps(cells) + "\n")
        (root / split / "metadata.jsonl").write_text("".join(lines))
    return str(root)


def as_saved(root: Path) -> object:
    write_tables(root / "x", TRAIN, TEST)
    datasets.DatasetDict(
        {
            split: datasets.Dataset.from_parquet(str(next((root / "x" / "data").glob(f"{split}*"))))
            for split in ("train", "test")
        }
    ).save_to_disk(str(root / "saved"))
    return str(root / "saved")


FORMS = [
    as_folder,
    as_glob,
    as_files,
    as_shards,
    as_json,
    as_csv,
    as_arrow,
    as_binary,
    as_paths_in_structs,
    as_images_with_sounds,
    as_saved,
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: Callable[[Path], object], tmp_path: Path) -> None:
    dataset = build(form(tmp_path / "data"))
    assert dataset.classes == CLASSES
    found = content(dataset)
    assert {name: len(own) for name, own in found.items()} == {"train": 18, "validation": 6, "test": TEST}
    assert found == expected(dataset)


@pytest.mark.parametrize("form", FORMS[:-1])
def test_a_stream_of_every_form_says_the_same(form: Callable[[Path], object], tmp_path: Path) -> None:
    dataset = build(form(tmp_path / "data"), streaming=True, classes=CLASSES)
    found = content(dataset)
    assert sum(map(len, found.values())) == TRAIN + TEST
    assert found == expected(dataset)


# Splits


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
    with pytest.raises(UserError, match=r"no split 'evl' \(did you mean 'eval' or 'dev'\?\)"):
        build(path, test_split="evl", **settings).splits()
    with pytest.raises(UserError, match=r"set dataset\.subset to one of them"):
        build(path, subset="smal", classes=CLASSES).splits()
    with pytest.raises(UserError, match=r"'dev' is a test split, and dataset\.test would"):
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


# Columns and labels


def columns(tmp_path: Path, **cells: Any) -> str:
    data = {name: list(values) for name, values in cells.items()}
    write(tmp_path / "data" / "test.parquet", data)
    return str(write(tmp_path / "data" / "train.parquet", data).parent)


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_are_found_or_asked_for(tmp_path: Path, streaming: bool) -> None:
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
    with pytest.raises(UserError, match=r"'clip' is of type (float64|double), and files or paths are asked for"):
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


def test_classes_that_only_a_whole_stream_would_tell(tmp_path: Path) -> None:
    path = columns(tmp_path, audio=["a"], image=["b"], label=["c"])
    with pytest.raises(UserError, match=r"only the whole stream would tell .*; set dataset\.classes"):
        build(path, streaming=True)
    with pytest.raises(UserError, match=r"'label' holds 1 classes, and two are the least"):
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


# What cannot be read


def test_places_where_no_data_set_is(tmp_path: Path, written: Path) -> None:
    def refused(path: object, reason: str, **settings: object) -> None:
        with pytest.raises(UserError, match=reason) as caught:
            build(path, **settings)
        assert "\n" not in str(caught.value)

    with pytest.raises(UserError, match=r"set dataset\.path to an id of the hub \(user/name\), to a folder, or"):
        Hub.settle(Hub.Config())
    refused("cremad", r"cremad: no such file or folder, nor an id of the hub")
    refused(str(tmp_path / "no" / "*.parquet"), r"no such file or folder")
    refused("data/train.parquet", r"no such file or folder")
    (tmp_path / "a.wav").write_bytes(wav(1))
    refused(str(tmp_path / "a.wav"), r"a\.wav: not a table that can be read \(\.parquet, \.jsonl")
    refused(str(tmp_path), r"a folder of single files \(audiofolder\).* use --dataset av-folder")
    (tmp_path / "empty").mkdir()
    refused(str(tmp_path / "empty"), r"cannot be read \(EmptyDatasetError")
    (tmp_path / "cut.parquet").write_bytes(next((written / "data").iterdir()).read_bytes()[:-100])
    refused(str(tmp_path / "cut.parquet"), r"cut\.parquet: cannot be read \(ArrowInvalid")
    (tmp_path / "x.csv").write_text("a\n1\n")
    refused([str(tmp_path / "x.csv"), str(tmp_path / "cut.parquet")], r"tables of several kinds \(csv, parquet\)")
    refused(str(tmp_path / "x.csv"), r"files here have no revision; leave dataset\.revision out", revision="v1")
    refused(str(tmp_path / "x.csv"), r"files here have no subset", subset="en")


def test_offline_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    outcome = scmrl("train", "--dataset", "hub", "--set", "dataset.path=nobody/nothing")
    assert_refused(outcome, "nobody/nothing", "without HF_HUB_OFFLINE", "dataset.path")


BAD: dict[int, tuple[str, Any, str]] = {
    1: ("audio", {"bytes": wav(1)[:-20], "path": "1.wav"}, "is cut off"),
    2: ("image", {"bytes": b"\x89PNG\r\n\x1a\n" + bytes(99), "path": None}, "not an image that can be read"),
    3: ("audio", None, "its cell of column 'audio' is empty"),
    4: ("image", {"bytes": None, "path": None}, "its cell of column 'image' is empty"),
    5: ("label", -1, "its label is -1, so none"),
    6: ("label", None, "its label is None, so none"),
    8: ("audio", {"bytes": b"", "path": "8.wav"}, "is empty (0 bytes)"),
    9: ("audio", {"bytes": None, "path": "gone.wav"}, "cannot be read (No such file or directory)"),
    10: ("audio", {"bytes": b"version https://git-lfs.github.com/spec/v1\n", "path": "l.wav"}, "git-lfs pointer"),
}
"""By row, a cell that cannot be used, and a part of the reason."""


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
    assert found.repaired == [("test/5/slow.wav", f"8000 Hz, resampled to {RATE} Hz")]
    kept = {name: len(split) for name, split in found.splits.items()}
    assert kept["train"] + kept["validation"] == TRAIN - len(BAD)
    assert kept["test"] == TEST - 1


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
    assert {told["label"] for told in json.loads(outcome.out)["predictions"]} == {*CLASSES}


# Kept features


def computed(found: Prepared) -> int:
    return sum(counts.computed for counts in found.counts.values())


def again() -> None:
    """How much a process computes of each of the data sets that its arguments are the settings of."""
    print([computed(prepared("hub", **json.loads(settings))) for settings in sys.argv[1:]])


def test_another_process_computes_nothing_again(tmp_path: Path) -> None:
    write_tables(tmp_path / "data", TRAIN, TEST)
    both = [{"path": str(tmp_path / "data"), "streaming": streaming} for streaming in ("false", "true")]
    for settings in both:
        assert computed(prepared("hub", **settings)) == TRAIN + TEST
    assert other_process("again", *map(json.dumps, both), PYTHONHASHSEED="7") == [0, 0]
    # Files have one fingerprint: where one has changed, all are read again.
    file = next((tmp_path / "data" / "data").glob("test*"))
    parquet.write_table(table(TEST, 500), file)
    os.utime(file, ns=(1, 1))
    for settings in both:
        assert computed(prepared("hub", **settings)) == TRAIN + TEST


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


def test_a_video_is_told_by_its_bytes(tmp_path: Path) -> None:
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


# The hub itself, as far as it can be had here


def client() -> None:
    """What a process that knows the fake hub makes of it, as JSON."""

    def tell(path: str, **settings: Any) -> Any:
        try:
            dataset = build(path, **settings)
            return {"revision": dataset.config.revision, "content": content(dataset)}
        except UserError as error:
            return str(error)

    told = {
        "downloaded": tell("somebody/clips"),
        "streamed": tell("somebody/clips", streaming=True),
        "named": tell("somebody/names", classes=CLASSES),
        "gated": tell("somebody/gated"),
        "script": tell("somebody/script"),
        "absent": tell("somebody/else"),
        "revision": tell("somebody/clips", revision="v2"),
    }
    os.environ["HF_TOKEN"] = "hf_secret"
    told["token"] = tell("somebody/gated", revision="main")
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    told["offline"] = tell("somebody/clips")
    told["other"] = tell("somebody/clips", revision=COMMIT[::-1])
    print(json.dumps(told))


def test_an_id_of_the_hub(written: Path, tmp_path: Path) -> None:
    """In a process of its own, as the hub's address is read once."""
    as_json(tmp_path / "names")
    shutil.copytree(written, tmp_path / "script")
    (tmp_path / "script" / "script.py").write_text("raise SystemExit('executed')")
    folders = {
        "somebody/clips": written,
        "somebody/gated": written,
        "somebody/names": tmp_path / "names",
        "somebody/script": tmp_path / "script",
    }
    with serve(folders, {"somebody/gated": "hf_secret"}) as hub:
        online = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}
        told = other_process("client", **online)

    def same(found: Any, dataset: Hub) -> bool:
        wanted = json.loads(json.dumps(expected(dataset)))
        return found == {"revision": COMMIT, "content": wanted}

    table, stream = build(str(written)), build(str(written), streaming=True)
    for name in ("downloaded", "token", "offline"):
        assert same(told[name], table), name
    assert same(told["streamed"], stream)
    assert same(told["named"], table)
    assert any("names/resolve" in asked and asked.endswith(".png") for asked in hub.asked)
    assert "is a gated dataset on the Hub" in told["gated"]
    assert "set HF_TOKEN" in told["gated"]
    assert "needs a script of its own" in told["script"]
    assert "doesn't exist on the Hub or cannot be accessed; check dataset.path" in told["absent"]
    assert "Revision 'v2' doesn't exist" in told["revision"]
    assert f"only revision {COMMIT} is here" in told["other"]


def test_a_hub_that_does_not_answer_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer .*set HF_HUB_OFFLINE=1"):
        build("nobody/nothing")
