"""Folders of anybody's sounds and pictures: their classes, how they are divided, and what is refused."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from av_folder_data import folder, ids, put, reasons, rows_of, total, write_csv, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_files import SMALL, assert_found, assert_refused, plant, prepared, scmrl, sets
from pydantic import ValidationError

import scmrl_plugins
from scmrl_plugins.core.interfaces import SPLITS, ModelConfig
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.plugins.datasets.miniatures.av_folder import CLASSES
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture, write_sound
from scmrl_plugins.registry import UserError


def test_folders_of_classes(written: Path) -> None:
    dataset = folder(root=str(written))
    assert dataset.classes == CLASSES == ("bell", "drum", "flöte")
    splits = dataset.splits()
    for name, count in zip(SPLITS, (3, 1, 2), strict=True):
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
        str(root / "tests"): "'tests' is not a split (did you mean 'test'?); rename it or move it away"
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
    with pytest.raises(UserError, match=r"there is a test split already; remove dataset\.test"):
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


def test_a_table_given_as_the_root_is_named_with_its_option(pairs: Path) -> None:
    table = write_csv(pairs / "t.csv", [{"audio": "a0.wav", "visual": "a0.jpg", "label": "x"}])
    with pytest.raises(UserError, match=r"t.csv: not a folder; .* or dataset\.manifest to a table of samples$"):
        folder(root=str(table))


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
            f"'drum' (folder {Path(path).parent}) is not a class (did you mean 'drums'?); rename it, or add it to "
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


@pytest.mark.slow
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), test=st.floats(0.1, 0.5), validation=st.floats(0.2, 0.5))
def test_no_file_is_in_two_splits(crowd: Path, seed: int, test: float, validation: float) -> None:
    config = AVFolder.Config(manifest=str(crowd), seed=seed, test=test, validation=validation, classes=("x", "y"))
    listing = AVFolder(config, ModelConfig(image_size=16)).listing()
    files = [{str(path) for one in part for path in (one.audio, one.visual)} for part in listing.splits.values()]
    assert sum(map(len, files)) == len(set.union(*files)) == 80
    assert sum(map(len, listing.splits.values())) == 60
    for label in (0, 1):
        assert abs(sum(one.label == label for one in listing.splits["test"]) - 30 * test) <= 1.5


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


def test_repaired_files_are_reported(root: Path, cache: Path) -> None:
    sound = root / "train" / "bell" / "bell 0.wav"
    soundfile.write(sound, np.stack([tone(rate=8000)] * 2, axis=1), 8000)
    found = prepared("av-folder", root=root, validation=0.25)
    assert {*found.repaired} == {
        (str(sound), "2 channels, averaged to one"),
        (
            str(sound),
            "8000 Hz, resampled to 22050 Hz, holds nothing above 4000 Hz, where features reach to 11025 Hz",
        ),
    }


def test_the_most_common_sample_rate_is_settled(root: Path, cache: Path) -> None:
    config = AVFolder.Config(root=str(root), validation=0.25)
    assert AVFolder.settle(config).sample_rate == 22_050
    for path in root.rglob("*.wav"):
        soundfile.write(path, tone(rate=16_000), 16_000)
    (root / "train" / "bell" / "bell 0.wav").write_bytes(b"no sound")
    settled = AVFolder.settle(config)
    assert settled.sample_rate == 16_000
    assert AVFolder.settle(settled) == settled
    assert AVFolder.settle(config.model_copy(update={"classes": CLASSES})).sample_rate == 16_000
    assert AVFolder.settle(config.model_copy(update={"sample_rate": 8000})).sample_rate == 8000


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


@pytest.mark.slow
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
    reported = json.loads(scmrl("eval", run, "--json").out)
    assert (reported["n"], reported["skipped"]) == (5, 1)
    # What was trained knows its classes without its files.
    files = ["--audio", tmp_path / "mine.wav", "--visual", tmp_path / "mine.mp4"]
    shutil.move(root / "train" / "bell" / "bell 1.wav", files[1])
    shutil.move(root / "train" / "drum" / "drum 1.mp4", files[3])
    shutil.rmtree(root)
    predictions = json.loads(scmrl("predict", run, *files, "--json").out)["predictions"]
    assert {one["label"] for one in predictions} == {*CLASSES}
    assert scmrl_plugins.load(run).classes == CLASSES
