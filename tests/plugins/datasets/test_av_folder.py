"""Folders and tables of anybody's sounds and pictures: what is found, how it is divided, what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from planted_files import SMALL, assert_found, assert_refused, copy, plant, prepared, scmrl, sets
from pyarrow import parquet
from pydantic import ValidationError

import scmrl_plugins
from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.plugins.datasets.miniatures.av_folder import CLASSES
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture, write_sound
from scmrl_plugins.registry import UserError

NAMES = ("train", "validation", "test")
Cells = dict[str, Any]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature: three classes, 4 samples each to train and 2 to test; not to be changed."""
    root = tmp_path_factory.mktemp("av-folder")
    AVFolder.fixture(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy of the miniature, to be changed."""
    return copy(written, tmp_path / "root")


def folder(**settings: object) -> AVFolder:
    """The data set as the commands build it: with the classes looked up."""
    config = AVFolder.Config.model_validate({"validation": 0.25, **settings})
    return AVFolder(AVFolder.settle(config), ModelConfig(image_size=16))


def ids(dataset: AVFolder) -> dict[str, list[str]]:
    return {name: split["id"][:] for name, split in dataset.splits().items()}


def total(dataset: AVFolder) -> int:
    return sum(map(len, ids(dataset).values()))


def reasons(dataset: AVFolder) -> dict[str, str]:
    bad = dataset.bad_files()
    assert all(";" in error.reason for error in bad)
    found = {error.path: error.reason for error in bad}
    assert len(found) == len(bad)
    return found


def put(folder: Path, stem: str, number: int = 1) -> Path:
    """A pair of files; returns the sound."""
    write_picture(folder / f"{stem}.jpg", number)
    return write_sound(folder / f"{stem}.wav", number)


def test_folders_of_classes(written: Path) -> None:
    dataset = folder(root=str(written))
    assert dataset.classes == CLASSES == ("bell", "drum", "flöte")
    splits = dataset.splits()
    for name, count in zip(NAMES, (3, 1, 2), strict=True):
        assert Counter(splits[name]["label"]) == dict.fromkeys(range(3), count)
        for row in splits[name]:
            split, label, stem = row["id"].split("/")
            assert split == ("test" if name == "test" else "train")
            assert CLASSES[row["label"]] == label
            ending = {"bell": ".jpg", "drum": ".mp4", "flöte": ".png"}[label]
            assert row["audio"]["path"] == str(written / split / label / f"{stem}.wav")
            assert row["visual"]["path"] == str(written / split / label / f"{stem}{ending}")
    assert dataset.bad_files() == []


def test_sounds_and_pictures_in_folders_of_their_own(root: Path) -> None:
    expected = folder(root=str(root))
    for path in [path for path in root.rglob("*.*") if path.is_file()]:
        split, label, name = path.relative_to(root).parts
        kind = "audio" if path.suffix == ".wav" else "visual"
        (root / split / kind / label).mkdir(parents=True, exist_ok=True)
        path.rename(root / split / kind / label / name)
    for path in root.glob("*/*/"):
        if path.name not in ("audio", "visual"):
            path.rmdir()
    dataset = folder(root=str(root))
    assert dataset.classes == expected.classes
    assert ids(dataset) == ids(expected)
    shutil.rmtree(root / "train" / "visual" / "bell")
    assert {Path(path).parts[-4:-1] for path in reasons(folder(root=str(root)))} == {("train", "audio", "bell")}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "VALID", "eval"), ("train", "dev", "testing")],
)
def test_names_of_splits(root: Path, train: str, validation: str, test: str) -> None:
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    shutil.copytree(root / test, root / validation)
    found = ids(folder(root=str(root)))
    assert {name: len(split) for name, split in found.items()} == {"train": 12, "validation": 6, "test": 6}
    assert found["validation"][0] == "validation/bell/bell 0"


def test_two_folders_of_one_split_are_refused(root: Path) -> None:
    shutil.copytree(root / "test", root / "val")
    shutil.copytree(root / "test", root / "dev")
    with pytest.raises(UserError, match="val: dev is the validation split already; keep one of the two"):
        folder(root=str(root))


def test_a_folder_that_is_no_split_is_bad(root: Path) -> None:
    put(root / "tests" / "bell", "a")
    (root / ".git").mkdir()
    assert reasons(folder(root=str(root))) == {
        str(root / "tests"): "'tests' is no split (did you mean 'test' or 'testing'?); rename it or move it away"
    }


def test_without_a_test_split(root: Path) -> None:
    shutil.rmtree(root / "test")
    with pytest.raises(UserError, match=r"no test split; add one named test, or set dataset\.test to the share"):
        folder(root=str(root)).splits()
    found = ids(folder(root=str(root), test=0.5, validation=0.5))
    assert {name: len(split) for name, split in found.items()} == {"train": 3, "validation": 3, "test": 6}
    other = ids(folder(root=str(root), test=0.5, validation=0.4))
    assert other["test"] == found["test"]


def test_a_share_for_the_test_beside_a_test_split_is_refused(written: Path) -> None:
    with pytest.raises(UserError, match=r"there is a test split, and dataset\.test would make another; leave it"):
        folder(root=str(written), test=0.2).splits()


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.999, 11)])
def test_no_share_is_too_small_for_a_sample(written: Path, share: float, count: int) -> None:
    found = ids(folder(root=str(written), validation=share))
    assert (len(found["train"]), len(found["validation"])) == (12 - count, count)


def test_samples_that_share_a_file_cannot_be_divided(pairs: Path) -> None:
    rows = [{"audio": f"a{place}.wav", "visual": "a0.jpg", "label": place} for place in range(4)]
    with pytest.raises(UserError, match=r"4 training samples cannot spare any for the test split, as no file"):
        folder(manifest=str(write_csv(pairs / "t.csv", rows)), test=0.5).splits()


@pytest.mark.parametrize("missing", [".", "absent", "train/bell/bell 0.wav", "n" * 300, "nul\0", "~nobody-here"])
def test_a_root_that_is_none(written: Path, tmp_path: Path, missing: str) -> None:
    root = {".": tmp_path, "~": Path(missing)}.get(missing[0], written / missing)
    with pytest.raises(UserError, match=r"(no folder train|not a folder); set dataset\.root to the one"):
        folder(root=str(root))


def test_without_files_the_remedy_is_named() -> None:
    assert_refused(scmrl("build", "--dataset", "av-folder"), "dataset.root", "dataset.manifest")


def test_the_model_needs_no_files_where_the_classes_are_given() -> None:
    done = scmrl("build", "--dataset", "av-folder", "--set", 'dataset.classes=["a", "b"]', *sets(SMALL), "--json")
    assert json.loads(done.out)["output_shape"][-1] == 2


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], ["a", ""], ["é", "e\u0301"], [1, 2], "ab"])
def test_classes_that_cannot_be(classes: object) -> None:
    with pytest.raises(ValidationError):
        AVFolder.Config.model_validate({"classes": classes})


def test_one_class_is_too_few(root: Path) -> None:
    for name in ("drum", "flöte"):
        shutil.rmtree(root / "train" / name)
        shutil.rmtree(root / "test" / name)
    (root / "train" / "bell" / "bell 0.wav").unlink()
    with pytest.raises(UserError, match=r"1 classes .* 1 files are bad, the first is .*jpg: no sound file"):
        folder(root=str(root))


def test_given_classes_decide_the_order_and_what_is_one(root: Path) -> None:
    classes = ["flöte", unicodedata.normalize("NFD", "bell"), "drums"]
    dataset = folder(root=str(root), classes=classes)
    assert {*dataset.splits()["test"]["label"]} == {0, 1}
    found = reasons(dataset)
    assert len(found) == 6
    for path, reason in found.items():
        assert reason == (
            f"'drum' (folder {Path(path).parent}) is no class (did you mean 'drums'?); rename it, or add it to "
            f"dataset.classes"
        )


def test_a_class_in_either_form_of_its_name_is_one(root: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "flöte")
    assert decomposed != "flöte"
    (root / "test" / "flöte").rename(root / "test" / decomposed)
    dataset = folder(root=str(root))
    assert dataset.classes == CLASSES
    assert total(dataset) == 18


def test_names_in_any_script_and_of_any_length(root: Path) -> None:
    for stem in ("鐘の音", "j" * 240, "a.b.c", "💥"):
        put(root / "train" / "bell", stem)
    dataset = folder(root=str(root))
    assert total(dataset) == 22
    assert dataset.bad_files() == []


def test_files_of_no_class_and_folders_of_none(root: Path) -> None:
    stray = put(root / "train", "stray")
    (root / "train" / "empty").mkdir()
    (root / "train" / "loop").symlink_to("..")
    (root / "train" / "b\udce9").mkdir()
    put(root / "test" / "drum" / "second", "deep")
    dataset = folder(root=str(root))
    assert dataset.classes == CLASSES
    deeper = "is a folder in a class's folder; move its files up"
    assert reasons(dataset) == {
        **{str(path): "is in no class's folder; move it to one" for path in (stray, stray.with_suffix(".jpg"))},
        str(root / "train" / "b\ufffd"): "its name is not UTF-8; rename it",
        **dict.fromkeys(map(str, (root / "test/drum/second", root / "train/loop/test")), deeper),
        str(root / "train/loop/train"): deeper,
    }


def test_a_class_beside_folders_of_sounds_and_of_pictures(root: Path) -> None:
    for kind in ("audio", "visual"):
        (root / "train" / kind / "bell").mkdir(parents=True)
    dataset = folder(root=str(root), classes=list(CLASSES), test=None)
    with pytest.raises(
        UserError, match=r"0 training samples .* 3 files are bad, the first is .*/train/bell: is beside"
    ):
        dataset.splits()


def test_a_file_of_two_splits_stays_in_the_test(root: Path) -> None:
    for ending in (".wav", ".jpg"):
        shutil.move(root / "train" / "bell" / f"bell 0{ending}", root / f"kept{ending}")
        (root / "train" / "bell" / f"bell 0{ending}").symlink_to(root / "test" / "bell" / f"bell 1{ending}")
    dataset = folder(root=str(root))
    ((path, reason),) = reasons(dataset).items()
    assert path == str(root / "train" / "bell" / "bell 0.wav")
    assert "one of its files in the test split" in reason
    assert len(ids(dataset)["test"]) == 6


# Tables


def write_csv(path: Path, rows: Sequence[Cells]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Cells]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Cells]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


def rows_of(root: Path, **more: Callable[[int], object]) -> list[Cells]:
    """The samples of a folder as rows, with more columns by the row's number."""
    rows: list[Cells] = []
    for sound in sorted(root.rglob("*.wav")):
        picture = next(
            path for path in sorted(sound.parent.iterdir()) if path.stem == sound.stem and path != sound
        )
        cells = {"audio": str(sound.relative_to(root)), "visual": str(picture.relative_to(root))}
        cells |= {"label": sound.parent.name, "split": sound.parent.parent.name}
        rows.append(cells | {name: of(len(rows)) for name, of in more.items()})
    return rows


@pytest.mark.parametrize("ending", WRITERS)
def test_tables_say_what_folders_say(root: Path, ending: str) -> None:
    expected = folder(root=str(root)).splits()
    path = WRITERS[ending](root / f"all{ending}", rows_of(root))
    dataset = folder(manifest=str(path))
    assert dataset.classes == CLASSES
    splits = dataset.splits()
    for name in ("train", "test"):
        assert len(splits[name]) == len(expected[name])
    test = {(row["audio"]["path"], row["visual"]["path"], row["label"]) for row in splits["test"]}
    assert test == {(row["audio"]["path"], row["visual"]["path"], row["label"]) for row in expected["test"]}
    assert dataset.bad_files() == []
    assert "test/bell/bell 0.wav test/bell/bell 0.jpg" in splits["test"]["id"]


@pytest.mark.parametrize("ending", WRITERS)
def test_labels_and_ids_may_be_numbers(root: Path, ending: str) -> None:
    rows = rows_of(root, id=lambda number: 100 + number, label=lambda number: number % 2)
    dataset = folder(manifest=str(WRITERS[ending](root / f"all{ending}", rows)))
    assert dataset.classes == ("0", "1")
    assert {one for split in ids(dataset).values() for one in split} == {str(100 + place) for place in range(18)}


def test_a_table_as_people_and_programs_write_it(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "über, allem")
    decomposed = unicodedata.normalize("NFD", "über")
    (tmp_path / f"{decomposed}.wav").write_bytes((tmp_path / "über, allem.wav").read_bytes())
    text = (
        '\ufeffnote,label,visual,audio\r\n\r\n"two\nlines",a,"über, allem.jpg","über, allem.wav"\r\n,,,\r\n'
        f'x, b ,{root}/test/bell/bell 0.jpg, "über.wav"\r\n'
        + "".join(
            f"x,{label},{root}/train/bell/../flöte/flöte {place}.png,{root}/train/bell/bell {place}.wav\n"
            for place, label in enumerate("abab")
        )
    )
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    dataset = folder(manifest=str(path), test=0.3, validation=0.3)
    assert dataset.classes == ("a", "b")
    assert total(dataset) == 6
    assert dataset.bad_files() == []


HEADER = "audio,visual,label,split\n"
GOOD = "".join(
    f"a{place}.wav,a{place}.jpg,{'xy'[place % 2]},{'test' if place > 7 else 'train'}\n" for place in range(12)
)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for place in range(12):
        put(tmp_path, f"a{place}", place)
    return tmp_path


@pytest.mark.parametrize(
    ("row", "where", "reason"),
    [
        ("b.wav,a0.jpg,x,train", "b.wav", "line 14 of table.csv, column 'audio': cannot be read (No such file"),
        ("a0.wav,b.jpg,x,train", "b.jpg", "line 14 of table.csv, column 'visual': cannot be read (No such file"),
        ("a0.wav,.,x,train", ".", "line 14 of table.csv, column 'visual': is no file but a folder"),
        (f"{'b' * 300}.wav,a0.jpg,x,train", None, "column 'audio': cannot be read (File name too long)"),
        ("a0.wav,a0.jpg", "table.csv", "line 14: 2 cells under 4 columns"),
        ("a0.wav,a0.jpg,x,train,more", "table.csv", "line 14: 5 cells under 4 columns"),
        (",a0.jpg,x,train", "table.csv", "line 14, column 'audio': is empty; write text"),
        ("a0.wav,a0.jpg,,train", "table.csv", "line 14, column 'label': is empty; write text or a whole number"),
        ("a0.wav,a0.jpg, ,train", "table.csv", "line 14, column 'label': is"),
        ("a0.wav,a1.jpg,x,", "table.csv", "line 14, column 'split': is empty"),
        (
            "a0.wav,a1.jpg,x,trian",
            "table.csv",
            "line 14, column 'split': 'trian' is no split (did you mean",
        ),
        ("a0.wav,a0.jpg,x,train", "table.csv", "line 14, column 'id': 'a0.wav a0.jpg' is that of line 2 of table"),
        (
            "a0.wav,a8.jpg,x,train",
            "a0.wav",
            "is in the train split (line 14 of table.csv), and one of its",
        ),
    ],
)
def test_a_bad_row_is_named(pairs: Path, row: str, where: str | None, reason: str) -> None:
    path = pairs / "table.csv"
    path.write_text(f"{HEADER}{GOOD}{row}\n")
    dataset = folder(manifest=str(path))
    ((bad, said),) = reasons(dataset).items()
    assert reason in said
    assert where is None or bad == str(pairs / where)
    assert total(dataset) == 12


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"audio": "a0.wav"', "line 13: not JSON"),
        ("[" * 100_000, "line 13: not JSON"),
        ("[1, 2]", "line 13: not a JSON object"),
        ('{"audio": "a0.wav", "label": "x", "split": "train"}', "line 13, column 'visual': is empty"),
        ('{"audio": 1, "visual": "a0.jpg", "label": "x", "split": "train"}', "line 13, column 'audio': 1 is int"),
        (
            '{"audio": "a0.wav", "visual": "a0.jpg", "label": true, "split": "train"}',
            "column 'label': True is bool",
        ),
        (
            '{"audio": "a0.wav", "visual": "a0.jpg", "label": NaN, "split": "train"}',
            "column 'label': nan is float",
        ),
        ('{"audio": "a0.wav", "visual": "a0.jpg", "label": "x"}', "line 13, column 'split': is empty"),
        (
            '{"audio": "a\\udcff.wav", "visual": "a0.jpg", "label": "x", "split": "train"}',
            "be written in UTF-8",
        ),
        (
            '{"audio": "a\\u0000", "visual": "a0.jpg", "label": "x", "split": "train"}',
            "read (embedded null",
        ),
        (
            '{"audio": "a0.wav", "visual": "a1.jpg", "label": "x", "split": "train", "id": []}',
            "column 'id': [] is list",
        ),
    ],
)
def test_a_bad_line_of_json_is_named(pairs: Path, line: str, reason: str) -> None:
    rows = list(csv.DictReader(f"{HEADER}{GOOD}".splitlines()))
    path = write_jsonl(pairs / "table.jsonl", rows)
    path.write_text(f"{path.read_text()}{line}\n\n")
    dataset = folder(manifest=str(path))
    ((_, said),) = reasons(dataset).items()
    assert reason in said
    assert total(dataset) == 12


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"", "is empty; write a line with audio, visual, label"),
        (
            "t.csv",
            b"audio;visual;label\n",
            "line 1: no column 'audio'; there are 'audio;visual;label', separated by c",
        ),
        ("t.csv", b"\naudio,visual,labels\n", r"line 2: no column 'label' \(did you mean 'labels'\?\)"),
        ("t.csv", b"audio,visual,label,label\n", "line 1: two columns 'label'; remove or rename one"),
        ("t.csv", b"audio,visual,label\n\xff,b,c\n", "cannot be read as CSV .*utf-8.*; save it as CSV in UTF-8"),
        ("t.csv", b'audio,visual,label\n"a,b,c\n', "after line 1: cannot be read as CSV"),
        ("t.csv", b"audio,visual,label\n", "0 classes"),
        (
            "t.csv",
            b"audio,visual,label\na,b,c\n",
            "0 classes .* 1 files are bad, the first is .*/a: line 2 of t.csv",
        ),
        ("t.jsonl", b"\xff\n", "cannot be read as text"),
        ("t.parquet", b"PAR1", "cannot be read as Parquet"),
        ("t.txt", b"", r"a table of samples ends in \.csv, \.jsonl, \.parquet"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        folder(manifest=str(tmp_path / name))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_parquet_of_other_columns_and_types(pairs: Path) -> None:
    rows: list[Cells] = list(csv.DictReader(f"{HEADER}{GOOD}".splitlines()))
    path = write_parquet(pairs / "t.parquet", [{"audio": row["audio"], "label": row["label"]} for row in rows])
    with pytest.raises(UserError, match="its schema: no column 'visual'; there are 'audio', 'label'"):
        folder(manifest=str(path))
    write_parquet(path, [*rows, {**rows[0], "label": None}])
    assert reasons(folder(manifest=str(path))) == {
        str(path): "row 13, column 'label': is empty; write text or a whole number"
    }
    write_parquet(path, [{**row, "audio": {"bytes": b"RIFF"}} for row in rows])
    with pytest.raises(UserError, match=r"row 1, column 'audio': .* is dict; write text"):
        folder(manifest=str(path))


def test_root_and_table_are_not_both_read(written: Path) -> None:
    with pytest.raises(ValidationError, match="root and manifest are both set"):
        AVFolder.Config.model_validate({"root": str(written), "manifest": "table.csv"})


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 rows in which three follow one another with a common file; not divided."""
    root = tmp_path_factory.mktemp("crowd")
    rows = []
    for place in range(20):
        put(root, f"a{place}", place)
        put(root, f"b{place}", 20 + place)
        a, b = (f"a{place}.wav", f"a{place}.jpg"), (f"b{place}.wav", f"b{place}.jpg")
        names = [a, (a[0], b[1]), b]
        rows += [{"audio": audio, "visual": visual, "label": "xy"[place % 2]} for audio, visual in names]
    return write_csv(root / "table.csv", rows)


@given(seed=st.integers(0, 2**32 - 1), test=st.floats(0.1, 0.5), validation=st.floats(0.2, 0.5))
def test_no_file_is_in_two_splits(crowd: Path, seed: int, test: float, validation: float) -> None:
    config = AVFolder.Config(manifest=str(crowd), seed=seed, test=test, validation=validation, classes=("x", "y"))
    listing = AVFolder(config, ModelConfig(image_size=16)).listing()
    files = [{str(path) for one in part for path in (one.audio, one.visual)} for part in listing.splits.values()]
    assert sum(map(len, files)) == len(set.union(*files)) == 80
    assert sum(map(len, listing.splits.values())) == 60
    for label in (0, 1):
        assert abs(sum(one.label == label for one in listing.splits["test"]) - 30 * test) <= 1.5


# Files that cannot be used, and the command line


@pytest.mark.parametrize("apart", [False, True])
def test_planted_files_are_found_and_left_out(root: Path, cache: Path, apart: bool) -> None:
    if apart:
        for number in range(6):
            name = f"train/{{}}/{'xylophon' if number % 2 else 'bell'}/good{number}"
            write_sound(root / "other" / f"{name.format('audio')}.wav", number)
            write_picture(root / "other" / f"{name.format('visual')}.jpg", number)
        root = root / "other"
    train = root / "train"
    folders = (train / "audio" / "bell", train / "visual" / "bell") if apart else (train / "bell", train / "bell")
    expected = plant(*folders, "planted ")
    found = prepared("av-folder", root=root, validation=0.3, **({"test": 0.34} if apart else {}))
    assert_found(found, expected)
    assert sum(map(len, found.splits.values())) == (6 if apart else 18)


def test_what_is_mended_is_said(root: Path, cache: Path) -> None:
    sound = root / "train" / "bell" / "bell 0.wav"
    soundfile.write(sound, np.stack([tone(rate=8000)] * 2, axis=1), 8000)
    found = prepared("av-folder", root=root, validation=0.25)
    assert {*found.repaired} == {
        (str(sound), "2 channels, averaged to one"),
        (str(sound), "8000 Hz, resampled to 22050 Hz"),
    }


def test_frames_of_videos_are_spread_over_the_steps(written: Path) -> None:
    config = AVFolder.Config(root=str(written), frames=2, validation=0.25, classes=CLASSES)
    dataset = AVFolder(config, ModelConfig(image_size=16, steps=4))
    rows = dataset.splits()["test"]
    row = rows[rows["id"].index("test/drum/drum 0")]
    stored = {name: columns[0] for name, columns in dataset.transform({k: [v] for k, v in row.items()}).items()}
    shown = dataset.inputs(stored, training=False)["visual"]
    assert shown.shape == (4, 3, 16, 16)
    assert np.array_equal(shown[0], shown[1])
    assert shown[2].mean() > shown[0].mean()  # the gray grows


def test_the_command_line(root: Path, cache: Path, tmp_path: Path) -> None:
    table = write_jsonl(root / "table.jsonl", rows_of(root))
    (root / "test" / "drum" / "drum 0.wav").unlink()
    run = tmp_path / "run"
    options = [*sets({**SMALL, "dataset.manifest": table, "dataset.validation": 0.25}), "--device", "cpu"]
    train = ("train", "--dataset", "av-folder", *options, "-o", run)
    assert_refused(
        scmrl(*train), str(root / "test" / "drum" / "drum 0.wav"), "line 3 of table.jsonl", "on_bad=skip"
    )
    done = scmrl(*train, "--set", "data.on_bad=skip")
    assert done.code == 0, done.err
    assert len(json.loads((run / "skipped.json").read_text())) == 1
    said = json.loads(scmrl("eval", run, "--json").out)
    assert (said["n"], said["skipped"]) == (5, 1)
    # What was trained knows its classes without its files.
    files = ["--audio", tmp_path / "mine.wav", "--visual", tmp_path / "mine.mp4"]
    shutil.move(root / "train" / "bell" / "bell 1.wav", files[1])
    shutil.move(root / "train" / "drum" / "drum 1.mp4", files[3])
    shutil.rmtree(root)
    predictions = json.loads(scmrl("predict", run, *files, "--json").out)["predictions"]
    assert {one["label"] for one in predictions} == {*CLASSES}
    assert scmrl_plugins.load(run).classes == CLASSES
