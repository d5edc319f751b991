"""MNIST-DVS beside N-TIDIGITS: its splits and pairs, its frames, and what is bad in its files."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from planted_files import POINTER, SMALL, assert_found, assert_refused, copy, prepared, scmrl, sets
from pydantic import ValidationError

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.media import aedat
from scmrl_plugins.plugins.datasets.media.events import Events
from scmrl_plugins.plugins.datasets.miniatures.mnistdvs_ntidigits import (
    SPEAKERS,
    seen,
    write_mnist_dvs,
    write_ntidigits,
)
from scmrl_plugins.plugins.datasets.mnistdvs_ntidigits import MNISTDVSNTIDIGITS
from scmrl_plugins.registry import UserError

SPLIT = {"train_per_class": 3, "test_per_class": 2, "validation": 0.3}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature, which is not to be changed."""
    root = tmp_path_factory.mktemp("mnistdvs-ntidigits")
    assert MNISTDVSNTIDIGITS.fixture(root) == {"root": str(root), **SPLIT}
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy of the miniature, to be changed."""
    return copy(written, tmp_path / "root")


def events_of(root: Path | None, steps: int = 4, size: int = 28, **settings: object) -> MNISTDVSNTIDIGITS:
    given = {"root": str(root) if root else None, **SPLIT, **settings}
    config = MNISTDVSNTIDIGITS.Config.model_validate(given)
    return MNISTDVSNTIDIGITS(config, ModelConfig(steps=steps, image_size=size))


def paths(dataset: MNISTDVSNTIDIGITS, modality: str) -> dict[str, list[str]]:
    return {name: [cell["path"] for cell in split[modality]] for name, split in dataset.splits().items()}


def ids(dataset: MNISTDVSNTIDIGITS) -> dict[str, list[str]]:
    return {name: split["id"][:] for name, split in dataset.splits().items()}


def picture_of(root: Path, digit: int, number: int, scale: int = 4) -> Path:
    name = f"mnist_{digit}_scale{scale:02}_{number:04}.aedat"
    return root / "MNIST_DVS" / f"grabbed_data{digit}" / f"scale{scale}" / name


def test_counts_labels_and_pairs(written: Path) -> None:
    splits = events_of(written).splits()
    assert {name: Counter(split["label"]) for name, split in splits.items()} == {
        name: dict.fromkeys(range(10), count) for name, count in (("train", 2), ("validation", 1), ("test", 2))
    }
    for split in splits.values():
        for row in split:
            assert Path(row["visual"]["path"]).name.startswith(f"mnist_{row['label']}_scale04_")
            file, _, place = row["audio"]["path"].partition("#")
            assert Path(file) == written / "n-tidigits.hdf5"
            spoken = place.rpartition("-")[2]
            assert row["label"] == (0 if spoken in "oz" else int(spoken))


@pytest.mark.parametrize("seed", range(5))
def test_no_recording_and_no_speaker_is_in_two_splits(written: Path, seed: int) -> None:
    dataset = events_of(written, seed=seed)
    pictures, sounds = paths(dataset, "visual"), paths(dataset, "audio")
    for named in (pictures, sounds):
        assert sum(len(set(one)) for one in named.values()) == len(set().union(*named.values()))
    assert all(len(set(one)) == len(one) for one in pictures.values())  # each picture is in one pair
    speakers = {
        name: {"-".join(path.rpartition("/")[2].split("-")[:2]) for path in one} for name, one in sounds.items()
    }
    assert sum(map(len, speakers.values())) == len(set().union(*speakers.values()))
    assert {name: {*split["speaker"][:]} for name, split in dataset.splits().items()} == speakers
    assert speakers["test"] <= set(SPEAKERS["test"])


def test_few_sounds_are_dealt_evenly(tmp_path: Path) -> None:
    write_mnist_dvs(tmp_path / "MNIST_DVS", 12)
    write_ntidigits(tmp_path / "n-tidigits.hdf5")
    dataset = events_of(tmp_path, train_per_class=7, test_per_class=5)
    times = Counter(path for path in paths(dataset, "audio")["test"] if path.endswith("-4"))
    assert sorted(times.values()) == [2, 3]  # of two speakers
    assert len(paths(dataset, "visual")["test"]) == 50


def test_the_seed_decides(written: Path) -> None:
    assert ids(events_of(written)) == ids(events_of(written))
    assert ids(events_of(written)) != ids(events_of(written, seed=1))
    more = ids(events_of(written, train_per_class=2))["test"]
    assert [name.split("/")[0] for name in more] == [
        name.split("/")[0] for name in ids(events_of(written))["test"]
    ]


def test_folders_and_scales(tmp_path: Path) -> None:
    for scale in (8, 16):
        write_mnist_dvs(tmp_path / "data" / f"s{scale}", 5, scale)
    (tmp_path / "data" / "audio").mkdir()
    write_ntidigits(tmp_path / "data" / "audio" / "N-TIDIGITS.hdf5")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "._mnist_0_scale08_0001.aedat").write_bytes(b"Mac OS X")
    for scale in (8, 16):
        dataset = events_of(tmp_path, scale=scale)
        assert sum(map(len, ids(dataset).values())) == 50
        assert all(f"_scale{scale:02}_" in name for split in ids(dataset).values() for name in split)
        assert dataset.bad_files() == []
    with pytest.raises(UserError, match=r"0 files mnist_0_scale04_\*\.aedat, where 3 to train and 2 to test"):
        events_of(tmp_path).splits()


def test_too_few_files_are_refused_with_the_settings(written: Path) -> None:
    for settings in ({"train_per_class": 4}, {"test_per_class": 3}):
        with pytest.raises(
            UserError, match=r"5 files .* lower dataset\.train_per_class and dataset\.test_per_class$"
        ):
            events_of(written, **settings).splits()


def test_bad_files_are_missing_from_the_training_only(root: Path) -> None:
    picture_of(root, 3, 2).rename(picture_of(root, 3, 2).with_name("three.aedat"))
    counts = {name: Counter(split["label"])[3] for name, split in events_of(root).splits().items()}
    assert counts == {"train": 1, "validation": 1, "test": 2}
    picture_of(root, 3, 1).unlink()
    with pytest.raises(UserError, match=r"3 files .*; 1 files are bad, the first is .*three\.aedat: not named"):
        events_of(root).splits()


def test_the_frames_are_those_counted_by_hand(written: Path) -> None:
    dataset = events_of(written, steps=5, size=40)
    row = dataset.splits()["train"][:1]
    arrays = dataset.transform(row)
    assert {name: (found[0].shape, found[0].dtype) for name, found in arrays.items()} == {
        "audio": ((5, 1, 40, 40), np.float32),
        "visual": ((5, 2, 40, 40), np.float32),
    }
    path = Path(row["visual"][0]["path"])
    expected = np.zeros((5, 2, 40, 40))
    inside = [
        event for event in zip(*aedat.decode(path, path), strict=True) if all(44 <= x < 84 for x in event[2:])
    ]
    first, last = inside[0][0], inside[-1][0]
    for time, channel, y, x in inside:
        expected[min((time - first) * 5 // (last - first), 4), channel, y - 44, x - 44] += 1
    np.testing.assert_array_equal(arrays["visual"][0], expected)
    assert expected.sum() == 300


def test_bins_and_values(written: Path) -> None:
    rows = events_of(written).splits()["train"][:1]

    def visual(**settings: object) -> np.ndarray:
        return events_of(written, size=40, **settings).transform(rows)["visual"][0]

    counts = visual(bins="count").sum((1, 2, 3))
    assert counts.tolist() == [75, 75, 75, 75]
    assert visual().sum((1, 2, 3)).tolist() != counts.tolist()
    np.testing.assert_array_equal(visual(values="binary"), visual() > 0)
    assert visual().max() > 1
    assert visual(window=128).sum() == pytest.approx(300 * (40 / 128) ** 2, rel=0.02)  # counts are averaged


def test_stored_arrays_depend_on_the_settings_of_the_key(written: Path) -> None:
    key = events_of(written).transform_key()
    for same in ({"seed": 3}, {"shift": 4}, {"window": 40}, {"validation": 0.5}):
        assert events_of(written, **same).transform_key() == key
    for other in (
        {"bins": "count"},
        {"values": "binary"},
        {"window": 41},
        {"scale": 8},
        {"steps": 5},
        {"size": 29},
    ):
        assert events_of(written, **other).transform_key() != key


def test_pictures_are_shifted_in_training(written: Path) -> None:
    dataset = events_of(written, shift=3)
    columns = dataset.transform(dataset.splits()["train"][:1])
    stored = {name: arrays[0] for name, arrays in columns.items()}
    assert dataset.inputs(stored, False)["visual"] is stored["visual"]
    torch.manual_seed(0)
    drawn = [dataset.inputs(stored, True) for _ in range(60)]
    wide = np.pad(stored["visual"], ((0, 0), (0, 0), (3, 3), (3, 3)))
    shifted = {(y, x): wide[..., y : y + 28, x : x + 28].tobytes() for y in range(7) for x in range(7)}
    found = {moved["visual"].tobytes() for moved in drawn}
    assert found <= set(shifted.values())
    assert len(found) > 20
    assert all(np.array_equal(moved["audio"], stored["audio"]) for moved in drawn)


def test_it_is_sent_to_workers(written: Path) -> None:
    dataset = events_of(written)
    rows = dataset.splits()["test"][:3]
    again = pickle.loads(pickle.dumps(dataset)).transform(rows)
    for name, arrays in dataset.transform(rows).items():
        np.testing.assert_array_equal(np.stack(arrays), np.stack(again[name]))


@pytest.mark.parametrize(
    "settings",
    [{"scale": 5}, {"bins": "events"}, {"window": 129}, {"train_per_class": 1}, {"values": "mean"}, {"shift": -1}],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MNISTDVSNTIDIGITS.Config.model_validate(settings)


def test_places_without_the_data(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs copies of MNIST-DVS and N-TIDIGITS: set dataset\.root"):
        events_of(None).splits()
    with pytest.raises(UserError, match=r"absent: not a folder; set dataset\.root"):
        events_of(tmp_path / "absent").splits()
    shutil.copy(root / "n-tidigits.hdf5", root / "MNIST_DVS")
    with pytest.raises(UserError, match=r"one n-tidigits\.hdf5 is expected and there are 2 copies"):
        events_of(root).splits()
    for path in root.rglob("*.hdf5"):
        path.unlink()
    with pytest.raises(UserError, match=r"one n-tidigits\.hdf5 is expected and there are none"):
        events_of(root).splits()


def test_a_digit_that_nobody_says(root: Path) -> None:
    with h5py.File(root / "n-tidigits.hdf5", "a") as file:
        labels = [label for label in file["test_labels"][:] if not label.endswith(b"-4")]
        del file["test_labels"]
        file["test_labels"] = np.array(labels, dtype="S")
    with pytest.raises(UserError, match=r"has no recording of 4 for the test split; use the complete file"):
        events_of(root).splits()


def corner(count: int = 20) -> bytes:
    zeros = np.zeros(count, dtype=int)
    return aedat.encode(Events(np.arange(count), zeros, zeros, zeros))


def plant(root: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """Bad files in the place of good ones, and bad ones beside them; what is wrong with each, as paths of rows."""
    good = aedat.encode(seen(0, 1))
    backwards = bytearray(good)
    backwards[-4:] = b"\0\0\0\0"
    pictures = {
        (0, 1): (b"", "is empty (0 bytes)"),
        (1, 2): (POINTER.encode(), "git-lfs pointer"),
        (2, 3): (good[:-5], "cut off within an event"),
        (3, 4): (good[good.index(b"\0") :], "has no AEDAT header"),
        (4, 5): (bytes(backwards), "1 events are out of order in time"),
        (5, 1): (good[:-8] + b"\0\1" + good[-6:], "1 events are out of the 128x128 sensor"),
        (6, 2): (corner(0), "holds no events"),
        (7, 3): (corner(), "no events in the middle 40x40 pixels"),
    }
    used = {}
    for (digit, number), (data, reason) in pictures.items():
        picture_of(root, digit, number).write_bytes(data)
        used[picture_of(root, digit, number)] = reason
    file = root / "n-tidigits.hdf5"
    with h5py.File(file, "a") as data:
        for part, name, kind, value, reason in (
            ("test", "man-im-a-8", "timestamps", np.nan, "first event 5 with nan"),
            ("test", "woman-ke-a-9", "addresses", 64, "first event 5 with 64"),
        ):
            data[f"{part}_{kind}/{name}"][5] = value
            used[Path(f"{file}#{part}/{name}")] = reason
        del data["train_timestamps/man-ae-a-o"]
        labels = [*data["train_labels"][:], b"man-ae-b-x"]
        del data["train_labels"]
        data["train_labels"] = np.array(labels, dtype="S")
    beside = {
        Path(f"{file}#train/man-ae-a-o"): "has no array in train_timestamps",
        Path(f"{file}#train/man-ae-b-x"): "ends in 'x'",
        root / "MNIST_DVS" / "nine.aedat": "not named mnist_<digit>_scale<04|08|16>_<number>.aedat",
        root / "MNIST_DVS" / "mnist_9_scale04_0077.aedat": "is the same recording as",
    }
    for path in (*list(beside)[2:], root / "MNIST_DVS" / "grabbed_data9" / "mnist_9_scale04_0077.aedat"):
        path.write_bytes(good)
    return used, beside


@pytest.mark.slow
def test_planted_files_are_found_and_left_out(root: Path, cache: Path) -> None:
    used, beside = plant(root)
    listed = events_of(root)
    left = sum(
        str(row["visual"]["path"]) not in map(str, used) and str(row["audio"]["path"]) not in map(str, used)
        for split in listed.splits().values()
        for row in split
    )
    found = prepared("mnistdvs-ntidigits", root=root, **SPLIT)
    assert_found(found, used | beside)
    assert left == sum(map(len, found.splits.values()))
    assert 50 - left == len(used)


@pytest.mark.slow
def test_the_command_line(root: Path, cache: Path, tmp_path: Path) -> None:
    used, beside = plant(root)
    run = tmp_path / "run"
    chosen = sets({f"dataset.{key}": value for key, value in SPLIT.items()})
    train = (
        "train",
        "--dataset",
        "mnistdvs-ntidigits",
        *sets({**SMALL, "dataset.root": root}),
        *chosen,
        "-o",
        run,
    )
    assert_refused(scmrl(*train, "--device", "cpu"), "nine.aedat: not named", "data.on_bad=skip")
    checked = json.loads(scmrl("data", "check", "mnistdvs-ntidigits", "--root", root, *chosen, "--json").out)
    assert checked["n"] == 50
    assert {bad["path"] for bad in checked["bad"]} == set(map(str, used | beside))
    done = scmrl(*train, "--device", "cpu", "--set", "data.on_bad=skip")
    assert done.code == 0, done.err
    assert {bad["path"] for bad in json.loads((run / "skipped.json").read_text())} == set(map(str, used | beside))
    reported = json.loads(scmrl("eval", run, "--json").out)
    tested = events_of(root).splits()["test"]
    bad = [row for row in tested if {row["audio"]["path"], row["visual"]["path"]} & set(map(str, used))]
    assert reported["n"] == 20 - len(bad)
    sound, picture = f"{root / 'n-tidigits.hdf5'}#test/man-im-a-7", picture_of(root, 7, 1)
    predict = scmrl("predict", run, "--audio", sound, "--visual", picture, "--json")
    assert len(json.loads(predict.out)["predictions"]) == 10
    assert_refused(
        scmrl("predict", run, "--audio", root / "n-tidigits.hdf5", "--visual", picture), "#test/man-im-a-7"
    )
    assert_refused(scmrl("predict", run, "--audio", sound, "--visual", picture_of(root, 0, 1)), "is empty")
