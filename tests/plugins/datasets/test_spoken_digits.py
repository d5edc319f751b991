from __future__ import annotations

import gzip
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
from digit_files import spoken
from hypothesis import given
from hypothesis import strategies as st
from paths import REAL
from pydantic import ValidationError

from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.interfaces import Dataset, ModelConfig, RepairedFileWarning
from scmrl_plugins.plugins.datasets.media import idx, images
from scmrl_plugins.plugins.datasets.media.front_end import FrontEnd
from scmrl_plugins.plugins.datasets.media.idx import idx_bytes, read_idx
from scmrl_plugins.plugins.datasets.miniatures.digits import SPEAKERS, tone, write_fsdd, write_mnist
from scmrl_plugins.plugins.datasets.spoken_digits import SpokenDigits
from scmrl_plugins.registry import UserError

real = pytest.mark.skipif(not (REAL / "fsdd").is_dir() or not (REAL / "mnist").is_dir(), reason="no data here")


def parts(split: datasets.Dataset) -> tuple[list[str], list[str]]:
    """The recordings and images of a split's ids."""
    recordings, pictures = zip(*(identifier.split("/") for identifier in split["id"]), strict=True)
    return list(recordings), list(pictures)


def by_row(rows: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]


def assert_disjoint(splits: datasets.DatasetDict) -> None:
    for place, column in ((0, "audio"), (1, "visual")):
        named = [set(parts(split)[place]) for split in splits.values()]
        assert sum(map(len, named)) == len(set.union(*named)), column
        cells = [
            {cell["bytes"] or Path(cell["path"]).read_bytes() for cell in split[column]}
            for split in splits.values()
        ]
        assert sum(map(len, cells)) == len(set.union(*cells)), column


def test_it_is_a_data_set_without_touching_a_file() -> None:
    digits = spoken(Path("nowhere"))
    assert isinstance(digits, Dataset)
    assert digits.native_size == 28
    assert SpokenDigits.defaults["model"]["image_size"] == 28


@pytest.mark.slow
def test_counts_and_disjointness(root: Path) -> None:
    splits = spoken(root, validation_indices=1).splits()
    # 8 recordings of 10 digits by 5 speakers: 5 for test, 1 for validation, 2 for training.
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 10 * 5 * 2 * 2,
        "validation": 10 * 5 * 1 * 5,
        "test": 10 * 5 * 5 * 5,
    }
    assert_disjoint(splits)
    for split in splits.values():
        recordings, pictures = parts(split)
        for recording, picture, label in zip(recordings, pictures, split["label"], strict=True):
            assert int(recording[0]) == label
            assert int(picture.removeprefix("mnist-")) % 10 == label  # as write_mnist labels them
    assert {int(name.rsplit("_", 1)[1]) for name in parts(splits["test"])[0]} == {0, 1, 2, 3, 4}
    times = Counter(parts(splits["test"])[0])
    assert set(times.values()) == {5}


@pytest.mark.slow
def test_rows_hold_the_files(root: Path) -> None:
    splits = spoken(root, validation_indices=1).splits()
    row = splits["train"][0]
    recording = row["id"].split("/")[0]
    expected, _ = soundfile.read(root / "recordings" / f"{recording}.wav", dtype="int16")
    got, rate = soundfile.read(row["audio"]["path"], dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(got, expected)
    pixels = read_idx(root / "mnist" / "t10k-images-idx3-ubyte.gz", 3)
    index = int(row["id"].split("mnist-")[1])
    np.testing.assert_array_equal(np.round(images.decode(row["visual"]["bytes"], "x") * 255), pixels[index])


def test_transform_and_pickle(root: Path) -> None:
    digits = spoken(root, validation_indices=1)
    rows = digits.splits()["test"][:3]
    arrays = pickle.loads(pickle.dumps(digits)).transform(rows)
    assert {key: value.shape for key, value in arrays.items()} == {
        "audio": (3, 1, 28, 28),
        "visual": (3, 1, 28, 28),
    }
    np.testing.assert_allclose(arrays["visual"][0, 0], images.decode(rows["visual"][0]["bytes"], "x"), atol=1e-6)


def test_a_batch_decodes_a_recording_once_for_all_its_pairs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = spoken(root, validation_indices=1, train_pairs=3)
    rows = digits.splits()["train"][:9]
    single = [digits.transform({name: [cell] for name, cell in row.items()}) for row in by_row(rows)]
    decoded: list[str] = []
    original = FrontEnd.decode

    def counted(front_end: FrontEnd, source: Any, name: str, *rest: Any) -> np.ndarray:
        decoded.append(name)
        return original(front_end, source, name, *rest)

    monkeypatch.setattr(FrontEnd, "decode", counted)
    arrays = digits.transform(rows)
    assert len(decoded) == len(set(decoded)) == 3
    for modality in ("audio", "visual"):
        np.testing.assert_array_equal(arrays[modality], np.concatenate([one[modality] for one in single]))


@pytest.mark.slow
def test_the_seed_decides(root: Path) -> None:
    def pairs_of(seed: int) -> dict[str, tuple[str, list[str]]]:
        splits = spoken(root, seed=seed, validation_indices=1).splits()
        return {name: (split._fingerprint, split["id"][:]) for name, split in splits.items()}

    first = pairs_of(0)
    assert first == pairs_of(0)
    assert first != pairs_of(1)
    other = pairs_of(1)
    assert {name.split("/")[0] for name in first["test"][1]} == {name.split("/")[0] for name in other["test"][1]}


@pytest.mark.slow
def test_by_speaker(root: Path) -> None:
    splits = spoken(
        root, split="by-speaker", test_speakers=["theo", "yweweler"], validation_speakers=["nicolas"]
    ).splits()
    heard = {name: {recording.split("_")[1] for recording in parts(split)[0]} for name, split in splits.items()}
    assert heard == {"train": {"george", "jackson"}, "validation": {"nicolas"}, "test": {"theo", "yweweler"}}
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 2 * 80 * 2,
        "validation": 80 * 5,
        "test": 2 * 80 * 5,
    }
    assert_disjoint(splits)


def test_speakers_are_a_list_in_toml(root: Path) -> None:
    digits = spoken(root, split="by-speaker", test_speakers=["george"], validation_speakers=["theo"])
    splits = digits.splits()
    assert {name.split("_")[1] for name in parts(splits["test"])[0]} == {"george"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"test_speakers": ["teo"], "validation_speakers": ["nicolas"]},
            r"no speaker 'teo' \(did you mean 'theo'\?\); there are george, jackson",
        ),
        (
            {"test_speakers": list(SPEAKERS[1:]), "validation_speakers": ["george"]},
            "left for the train split",
        ),
    ],
)
def test_speakers_that_cannot_be(root: Path, settings: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        spoken(root, split="by-speaker", **settings).splits()


@pytest.mark.parametrize(
    "settings",
    [
        {"test_speakers": ["theo"], "validation_speakers": ["theo"]},
        {"test_speakers": [], "validation_speakers": ["theo"]},
        {"test_speakers": ["theo"]},
        {"split": "fsdd", "speech": "arabic"},
        {"split": "published", "fold": 1},
        {"split": "by-speaker", "fold": 5},
        {"task": "difference"},
        {"split": "speaker"},
        {"root": 3},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SpokenDigits.Config.model_validate(settings)


@pytest.mark.parametrize("folder", [".", "fsdd", "free-spoken-digit-dataset"])
@pytest.mark.parametrize("mnist", [".", "mnist", "MNIST/raw"])
def test_layouts(tmp_path: Path, folder: str, mnist: str) -> None:
    write_fsdd(tmp_path / folder, speakers=("theo",), count=7)
    write_mnist(tmp_path / mnist, count=100)
    splits = spoken(tmp_path, validation_indices=1, test_pairs=1).splits()
    assert [len(split) for split in splits.values()] == [20, 10, 50]


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("joint", ["-", "."])
def test_training_images_where_they_are_given(tmp_path: Path, gz: bool, joint: str) -> None:
    write_fsdd(tmp_path, speakers=("theo",), count=7)
    write_mnist(tmp_path / "mnist", "train", 300, gz=gz, joint=joint)
    write_mnist(tmp_path / "mnist", "t10k", 100, gz=gz, joint=joint)
    splits = spoken(tmp_path, validation_indices=1, test_pairs=2).splits()
    assert_disjoint(splits)
    numbers = {
        name: {int(picture.removeprefix("mnist-")) for picture in parts(split)[1]}
        for name, split in splits.items()
    }
    assert max(numbers["train"] | numbers["validation"]) < 300  # of the training file
    assert min(numbers["test"]) >= 300
    test_pixels = read_idx(next((tmp_path / "mnist").glob("t10k-images*")), 3)
    row = splits["test"][0]
    index = int(row["id"].split("mnist-")[1]) - 300
    np.testing.assert_array_equal(np.round(images.decode(row["visual"]["bytes"], "x") * 255), test_pixels[index])


def test_recordings_are_brought_to_the_sample_rate(tmp_path: Path) -> None:
    write_fsdd(tmp_path, speakers=("theo",), count=7)
    write_mnist(tmp_path / "mnist", count=100)
    soundfile.write(tmp_path / "recordings" / "0_theo_0.wav", tone(rate=44100), 44100)
    digits = spoken(tmp_path, validation_indices=1, test_pairs=1)
    rows = digits.splits()["test"]
    place = rows["id"].index(next(name for name in rows["id"] if name.startswith("0_theo_0/")))
    with pytest.warns(RepairedFileWarning, match="0_theo_0.wav: 44100 Hz, resampled to 8000 Hz") as caught:
        brought = digits.transform(rows[place : place + 1])["audio"]
    assert len(caught) == 1
    soundfile.write(tmp_path / "recordings" / "0_theo_0.wav", tone(rate=8000), 8000)
    direct = digits.transform(rows[place : place + 1])["audio"]
    assert np.abs(brought - direct).mean() < 0.5 < direct.std()


def test_without_root_the_remedy_is_named() -> None:
    for digits in (spoken(None), SpokenDigits(SpokenDigits.Config(root=""), ModelConfig(image_size=28))):
        with pytest.raises(UserError, match=r"needs copies of FSDD and MNIST: set dataset\.root to the folder"):
            digits.splits()


def test_a_wrong_root_is_one_line_that_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent: not a folder; set dataset\.root"):
        spoken(tmp_path / "absent").splits()
    with pytest.raises(UserError) as caught:
        spoken(tmp_path).splits()
    for place in ("recordings", "fsdd/recordings", "free-spoken-digit-dataset/recordings"):
        assert str(tmp_path / place) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "dataset.root" in str(caught.value)
    write_fsdd(tmp_path, speakers=("theo",), count=1)
    with pytest.raises(UserError) as caught:
        spoken(tmp_path).splits()
    for word in ("t10k-images-idx3-ubyte", ".gz", str(tmp_path / "mnist"), str(tmp_path / "MNIST" / "raw")):
        assert word in str(caught.value)


def images_at(root: Path) -> Path:
    return root / "mnist" / "t10k-images-idx3-ubyte.gz"


def labels_at(root: Path) -> Path:
    return root / "mnist" / "t10k-labels-idx1-ubyte.gz"


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    return path


def cut_gz(root: Path) -> Path:
    path = images_at(root)
    path.write_bytes(path.read_bytes()[:-500])
    return path


def flipped_gz(root: Path) -> Path:
    path = images_at(root)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


def no_gz(root: Path) -> Path:
    images_at(root).write_bytes(b"<html>404</html>")
    return images_at(root)


def cut_idx(root: Path) -> Path:
    return rewrite(images_at(root), lambda data: data[:-1])


def short_header(root: Path) -> Path:
    return rewrite(labels_at(root), lambda data: data[:5])


def swapped(root: Path) -> Path:
    shutil.copy(labels_at(root), images_at(root))
    return images_at(root)


def huge_header(root: Path) -> Path:
    return rewrite(images_at(root), lambda data: data[:4] + b"\xff" * 4 + data[8:])


def other_size(root: Path) -> Path:
    return rewrite(images_at(root), lambda data: idx_bytes(np.zeros((200, 8, 8))))


def fewer_labels(root: Path) -> Path:
    return rewrite(labels_at(root), lambda data: idx_bytes(np.arange(150) % 10))


def letter(root: Path) -> Path:
    return rewrite(labels_at(root), lambda data: data[:-1] + b"\x0b")


def no_labels(root: Path) -> Path:
    labels_at(root).unlink()
    return images_at(root)


def bad_name(root: Path) -> Path:
    path = root / "recordings" / "seven.wav"
    shutil.copy(root / "recordings" / "7_theo_0.wav", path)
    return path


def text_wav(root: Path) -> Path:
    path = root / "recordings" / "7_theo_0.wav"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    return path


def cut_wav(root: Path) -> Path:
    path = root / "recordings" / "7_theo_0.wav"
    path.write_bytes(path.read_bytes()[:100])
    return path


def empty_wav(root: Path) -> Path:
    path = root / "recordings" / "7_theo_0.wav"
    soundfile.write(path, np.zeros(0), 8000)
    return path


def no_wavs(root: Path) -> Path:
    for path in (root / "recordings").iterdir():
        path.unlink()
    return root / "recordings"


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "spoil",
    [
        cut_gz,
        flipped_gz,
        no_gz,
        cut_idx,
        short_header,
        swapped,
        huge_header,
        other_size,
        fewer_labels,
        letter,
        no_labels,
        bad_name,
        text_wav,
        cut_wav,
        empty_wav,
        no_wavs,
    ],
)
def test_bad_files_are_named(root: Path, spoil: Callable[[Path], Path]) -> None:
    path = spoil(root)
    config = compose(options={"dataset": {"name": "spoken-digits", "root": str(root), "validation_indices": 1}})
    with pytest.raises(UserError) as caught:
        prepare(spoken(root, validation_indices=1, train_pairs=1, test_pairs=1), config)
    assert str(caught.value).startswith(f"{path}: ")
    assert ";" in str(caught.value)  # the remedy


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_bad_recordings_are_left_out_on_request(root: Path) -> None:
    bad = [bad_name(root), cut_wav(root)]
    shutil.copy(root / "recordings" / "7_theo_0.wav", root / "recordings" / "7_theo_6.wav")
    soundfile.write(root / "recordings" / "3_theo_0.wav", np.zeros(400), 8000)
    bad += [root / "recordings" / "7_theo_6.wav", root / "recordings" / "3_theo_0.wav"]
    digits = spoken(root, validation_indices=1, train_pairs=2, test_pairs=3)
    named = {path.stem for path in bad}
    good = {
        name: sum(identifier.split("/")[0] not in named for identifier in rows["id"])
        for name, rows in digits.splits().items()
    }
    found = prepare(digits, compose(options={"dataset": {"name": "spoken-digits"}}), on_bad="skip")
    assert {path for path, _ in found.bad} == {str(path) for path in bad}
    assert len(found.bad) == len(bad)
    assert {name: len(split) for name, split in found.splits.items()} == good
    assert sum(good.values()) < sum(map(len, digits.splits().values()))


def test_hidden_files_are_not_recordings(root: Path) -> None:
    expected = spoken(root, validation_indices=1).splits()["train"]["id"][:]
    (root / "recordings" / "._7_theo_0.wav").write_bytes(b"Mac OS X")
    assert spoken(root, validation_indices=1).splits()["train"]["id"][:] == expected


def test_a_split_without_recordings_is_named(tmp_path: Path) -> None:
    write_fsdd(tmp_path, speakers=("theo",), count=6)
    write_mnist(tmp_path / "mnist", count=100)
    with pytest.raises(UserError, match="no recordings are left for the train split"):
        spoken(tmp_path, validation_indices=1).splits()


def test_a_digit_without_images_is_named(tmp_path: Path) -> None:
    write_fsdd(tmp_path, speakers=("theo",), count=7)
    write_mnist(tmp_path / "mnist", count=5)
    with pytest.raises(UserError, match="has no digit"):
        spoken(tmp_path, validation_indices=1, train_pairs=1).splits()
    write_mnist(tmp_path / "mnist", count=100)
    with pytest.raises(UserError, match=r"too few images of 0 for the validation split to give .* 3 different"):
        spoken(tmp_path, validation_indices=1).splits()


def test_an_idx_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MOST", 1 << 20)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(UserError, match=r"a\.gz: has more than 1 MB of data"):
        read_idx(path, 3)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.booleans())
def test_idx_round_trip(tmp_path_factory: pytest.TempPathFactory, shape: list[int], gz: bool) -> None:
    array = np.arange(np.prod(shape)).reshape(shape) % 256
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if gz else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if gz else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path, len(shape)), array)


@pytest.mark.slow
@real
def test_the_real_data() -> None:
    splits = spoken(REAL).splits()
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 6 * 10 * 40 * 2,
        "validation": 6 * 10 * 5 * 5,
        "test": 1500,
    }
    named = [[set(part) for part in parts(split)] for split in splits.values()]
    assert [len(recordings) for recordings, _ in named] == [2400, 300, 300]
    for place in (0, 1):
        assert sum(len(part[place]) for part in named) == len(set.union(*(part[place] for part in named)))
    labels = read_idx(REAL / "mnist" / "t10k-labels-idx1-ubyte.gz", 1)
    for split in splits.values():
        recordings, pictures = parts(split)
        assert [int(name[0]) for name in recordings] == split["label"][:]
        assert [int(labels[int(name.removeprefix("mnist-"))]) for name in pictures] == split["label"][:]
    # Every image is dealt once before any is dealt again.
    assert set(Counter(parts(splits["test"])[1]).values()) == {1}
    arrays = spoken(REAL).transform(splits["test"][:50])
    assert np.isfinite(arrays["audio"]).all()
    assert arrays["audio"].std() > 0.5


@pytest.mark.slow
@real
def test_the_real_data_by_speaker() -> None:
    splits = spoken(REAL, split="by-speaker").splits()
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 3000,
        "validation": 2500,
        "test": 5000,
    }
    heard = [{recording.split("_")[1] for recording in parts(split)[0]} for split in splits.values()]
    assert sum(map(len, heard)) == len(set.union(*heard)) == 6
