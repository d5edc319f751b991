"""CREMA-D: its folders, its splits, the published lists, and what is bad in them."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_files import POINTER, SMALL, assert_found, assert_refused, copy, prepared, scmrl, sets
from pydantic import ValidationError

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.crema_d import CLASSES, CremaD
from scmrl_plugins.plugins.datasets.files.samples import Sample
from scmrl_plugins.plugins.datasets.miniatures.crema_d import (
    ACTORS,
    names,
    write_official,
    write_prepared,
    write_sound,
    write_video,
)
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture
from scmrl_plugins.registry import UserError

CLIPS = names(CLASSES)
Splits = dict[str, list[str]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official folders: two clips of five actors in each class; not to be changed."""
    root = tmp_path_factory.mktemp("crema-d")
    write_official(root, CLASSES)
    return root


@pytest.fixture(scope="module")
def written_prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips in the prepared folders; not to be changed."""
    root = tmp_path_factory.mktemp("crema-d-prepared")
    write_prepared(root, CLASSES)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return copy(written, tmp_path / "root")


@pytest.fixture
def prepared_root(written_prepared: Path, tmp_path: Path) -> Path:
    return copy(written_prepared, tmp_path / "prepared")


def crema(root: Path | None, **options: object) -> CremaD:
    options = {"root": str(root) if root else None, "validation": 0.25, **options}
    return CremaD(CremaD.Config.model_validate(options), ModelConfig(image_size=16, steps=4))


def ids(dataset: CremaD) -> Splits:
    return {name: rows["id"][:] for name, rows in dataset.splits().items()}


def everything(splits: Splits) -> list[str]:
    return sorted(name for part in splits.values() for name in part)


def actors(splits: Splits) -> list[set[str]]:
    return [{name[:4] for name in part} for part in splits.values()]


def sound_of(root: Path, name: str) -> Path:
    return root / "AudioWAV" / f"{name}.wav"


def video_of(root: Path, name: str) -> Path:
    return root / "VideoFlash" / f"{name}.flv"


def test_the_classes_are_the_papers_in_its_order() -> None:
    assert CremaD.classes == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")


@pytest.mark.slow
def test_rows_name_the_files_of_one_clip(written: Path, written_prepared: Path) -> None:
    for root in (written, written_prepared):
        for rows in crema(root).splits().values():
            for row in rows:
                assert CLASSES[row["label"]] == row["id"].split("_")[2]
                for modality, endings in (("audio", {".wav"}), ("visual", {".flv", ".jpg"})):
                    path = Path(row[modality]["path"])
                    assert (path.stem, path.is_file(), row[modality]["bytes"]) == (row["id"], True, None)
                    assert path.suffix in endings


# Splits -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    test=st.floats(0.05, 0.6),
    validation=st.floats(0.05, 0.6),
    in_folders=st.booleans(),
)
def test_no_actor_is_in_two_splits(
    written: Path, written_prepared: Path, seed: int, test: float, validation: float, in_folders: bool
) -> None:
    root = written_prepared if in_folders else written
    found = ids(crema(root, seed=seed, test=test, validation=validation))
    assert everything(found) == sorted(CLIPS)
    assert all(actors(found))
    assert sum(map(len, actors(found))) == len(set.union(*actors(found))) == len(ACTORS)
    again = ids(crema(root, seed=seed, test=test, validation=0.5))
    assert again["test"] == found["test"]  # validation is carved out of training


def test_the_seed_draws_the_actors(written: Path) -> None:
    held = [ids(crema(written, seed=seed))["test"] for seed in range(8)]
    assert held[0] == ids(crema(written, seed=0))["test"]
    assert len({tuple(part) for part in held}) > 1


def as_published() -> list[Sample]:
    """7,442 clips of 91 actors with CREMA-D's count of each emotion."""
    labels = np.repeat(np.arange(6), (1271, 1271, 1271, 1271, 1087, 1271))
    clips = [(f"{1001 + place % 91}_S{place}_{CLASSES[label]}_XX", label) for place, label in enumerate(labels)]
    return [Sample(Path(name), Path(name), int(label), name, (name[:4],)) for name, label in clips]


@pytest.mark.slow
def test_random_is_as_large_as_published_and_shares_actors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "AudioWAV").mkdir()
    monkeypatch.setattr(CremaD, "_official", lambda self, root, bad: as_published())
    found = ids(crema(tmp_path, split="random", validation=0.1))
    assert len(found["train"]) + len(found["validation"]) == 6698
    assert len(found["test"]) == 744
    assert len({*everything(found)}) == 7442
    labels = Counter(name.split("_")[2] for name in found["test"])
    assert labels == {**dict.fromkeys(CLASSES, 127), "NEU": 109}
    train, _, test = actors(found)
    assert len(test & train) > 80  # what is wrong with it
    assert ids(crema(tmp_path, split="random"))["test"] == found["test"]
    assert ids(crema(tmp_path, split="random", seed=1))["test"] != found["test"]
    held = actors(ids(crema(tmp_path, validation=0.1)))
    assert [len(part) for part in held] == [66, 7, 18]  # a fifth of 91, and a tenth of the others


def test_folders_are_followed(written_prepared: Path) -> None:
    found = ids(crema(written_prepared, split="folders"))
    on_disk = {path.stem for path in (written_prepared / "test" / "audio").rglob("*.wav")}
    assert set(found["test"]) == on_disk
    assert everything(found) == sorted(CLIPS)
    labels = [Counter(name.split("_")[2] for name in part) for part in (found["train"], found["validation"])]
    assert all(count in (2, 3) for count in labels[1].values())  # a quarter of each class, of 8 to 9
    assert set(labels[0]) == set(labels[1]) == {*CLASSES}
    assert ids(crema(written_prepared, split="folders", seed=1))["validation"] != found["validation"]


def test_folders_are_looked_for_beside_the_official_ones(root: Path, written_prepared: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(written_prepared / part, root / part)
    assert ids(crema(root, split="folders")) == ids(crema(written_prepared, split="folders"))
    assert everything(ids(crema(root))) == sorted(CLIPS)  # the official ones; together they would be twice as many


# Lists ------------------------------------------------------------------------------------------------


def lists(folder: Path, train: list[str], test: list[str], encoding: str = "utf-8") -> dict[str, object]:
    for name, lines in (("train", train), ("test", test)):
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding=encoding)
    return {"split": "lists", "train_list": str(folder / "train.csv"), "test_list": str(folder / "test.csv")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("prepared_layout", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        "{clip}",
        "{clip},{label}",  # as OGM-GE publishes them
        "{clip}.flv;{label};4",
        '"AudioWAV/{clip}.wav","VideoFlash/{clip}.flv","{label}"',
        "train/audio/{label}/{clip}.wav 0",
        r"D:\my data\AudioWAV\{clip}.wav" + "\t{label}",
        "17,{clip}.mp4,{lower}",
    ],
)
def test_lists_are_followed_exactly(
    written: Path, written_prepared: Path, tmp_path: Path, form: str, prepared_layout: bool, encoding: str
) -> None:
    test = CLIPS[3::5]
    train = [name for name in CLIPS if name not in test][::2]  # the others are in no list
    lines = [
        [form.format(clip=clip, label=clip[9:12], lower=clip[9:12].lower()) for clip in part]
        for part in (train, test)
    ]
    options = lists(tmp_path, ["file,label", *lines[0], ""], lines[1], encoding)
    dataset = crema(written_prepared if prepared_layout else written, **options)
    found = ids(dataset)
    assert found["test"] == test
    assert sorted(found["train"] + found["validation"]) == sorted(train)
    assert len(found["validation"]) in range(5, 8)  # a quarter of 24
    assert dataset.bad_files() == []


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        (
            CLIPS[:9],
            ["1009_DFA_ANG_XX"],
            r"test\.csv, line 1: there is no clip 1009_DFA_ANG_XX \(did you mean '10",
        ),
        (["heading", *CLIPS[:9]], [CLIPS[9], CLIPS[4]], r"test\.csv, line 2: \S+ is in \S+train\.csv, line 6 too"),
        ([*CLIPS[:9], CLIPS[2]], CLIPS[9:12], r"train\.csv, line 10: \S+ is in \S+train\.csv, line 3 too"),
        (CLIPS[:9], ["1001_DFA_ANG"], r"test\.csv, line 1: names 0 clips"),
        ([CLIPS[0], "x"], CLIPS[9:12], r"train\.csv, line 2: names 0 clips"),
        ([f"{CLIPS[0]},{CLIPS[1]}"], CLIPS[9:12], r"train\.csv, line 1: names 2 clips"),
        (CLIPS[:9], [f"{CLIPS[9]},dis"], r"test\.csv, line 1: labels \S+_HAP_XX as DIS; its name says HAP"),
        (CLIPS[:9], ["", "heading"], r"test\.csv, line 2: names 0 clips"),
        (CLIPS[:9], ["heading"], "none of 60 clips are left for the test split"),
        ([], CLIPS[:9], "none of 60 clips are left for the train split"),
    ],
)
def test_lists_that_cannot_be_followed(
    written: Path, tmp_path: Path, train: list[str], test: list[str], reason: str
) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        crema(written, **lists(tmp_path, train, test)).splits()
    assert len(str(caught.value).splitlines()) == 1


def test_lists_that_cannot_be_read(written: Path, tmp_path: Path) -> None:
    options = lists(tmp_path, CLIPS[:9], CLIPS[9:12], encoding="utf-16")
    with pytest.raises(UserError, match=r"train\.csv: cannot be read as a list of clips .*UTF-8"):
        crema(written, **options).splits()
    with pytest.raises(UserError, match=r"gone\.csv: cannot be read \(No such file"):
        crema(written, **options | {"train_list": str(tmp_path / "gone.csv")}).splits()


def test_a_listed_clip_that_is_bad_is_bad_and_no_wrong_line(root: Path, tmp_path: Path) -> None:
    video_of(root, CLIPS[9]).unlink()
    dataset = crema(root, **lists(tmp_path, CLIPS[:9], CLIPS[9:12]))
    assert ids(dataset)["test"] == CLIPS[10:12]
    assert [error.path for error in dataset.bad_files()] == [str(sound_of(root, CLIPS[9]))]


@pytest.mark.parametrize(
    "options",
    [
        {"split": "lists"},
        {"split": "lists", "train_list": "a.csv"},
        {"train_list": "a.csv", "test_list": "b.csv"},
        {"split": "by-speaker"},
        {"test": 0.0},
        {"test": 1.0},
    ],
)
def test_settings_that_do_not_fit(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CremaD.Config.model_validate(options)


# Folders ----------------------------------------------------------------------------------------------


def test_roots_that_hold_no_crema_d(written: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="holds no AudioWAV and VideoFlash, nor train/audio, train/visual, test/aud"
    ):
        crema(tmp_path).splits()
    with pytest.raises(UserError, match="holds no train/audio, train/visual, test/audio and test/visual; set"):
        crema(written, split="folders").splits()
    with pytest.raises(UserError, match=r"dataset\.root is not set"):
        crema(None).splits()
    (tmp_path / "train" / "audio").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train/visual: no such folder; copy it"):
        crema(tmp_path).splits()
    (tmp_path / "AudioWAV").mkdir()
    with pytest.raises(UserError, match="VideoFlash: no such folder; copy it"):
        crema(tmp_path).splits()
    (tmp_path / "VideoFlash").mkdir()
    with pytest.raises(UserError, match="none of 0 clips are left for the train split"):
        crema(tmp_path).splits()


def test_too_few_actors_are_refused(root: Path) -> None:
    for name in names(CLASSES, ACTORS[2:]):
        sound_of(root, name).unlink()
        video_of(root, name).unlink()
    with pytest.raises(UserError, match="none of 24 clips are left for the validation split"):
        crema(root).splits()
    assert len(everything(ids(crema(root, split="random")))) == 24


def test_files_are_checked_even_if_a_split_is_empty(root: Path) -> None:
    for name in CLIPS[2:]:
        sound_of(root, name).unlink()
        video_of(root, name).unlink()
    damaged = video_of(root, CLIPS[0])
    damaged.write_bytes(b"FLV\1" + bytes(100))
    found = scmrl("data", "check", "crema-d", "--root", root, *sets({"model.image_size": 16}))
    assert found.code == 1
    assert damaged.name in "".join(found.out.split())
    assert "the test split has no usable sample" in found.out
    assert "none of 2 clips are left for the validation split; change dataset.split" in " ".join(found.out.split())
    prepared = scmrl("data", "prepare", "crema-d", "--root", root)
    assert_refused(prepared, "none of 2 clips are left for the validation split")


def test_a_clip_that_older_copies_misname(root: Path) -> None:
    name = CLIPS[-1].removesuffix("X")
    sound_of(root, CLIPS[-1]).rename(sound_of(root, name))
    dataset = crema(root)
    assert dataset.bad_files() == []
    assert everything(ids(dataset)) == sorted(CLIPS)
    write_sound(sound_of(root, CLIPS[-1]), 1)
    (error,) = crema(root).bad_files()
    assert error.reason.startswith(f"{sound_of(root, name)} has the same stem")


def test_videos_of_other_formats(root: Path) -> None:
    for name in CLIPS[:3]:
        video_of(root, name).unlink()
    for name, ending in zip(CLIPS[:3], (".mp4", ".MP4", ".avi"), strict=True):
        write_video(root / "VideoFlash" / f"{name}{ending}", 1)
    (root / "VideoFlash" / "notes.txt").write_text("passed over")
    (root / "VideoFlash" / f"._{CLIPS[3]}.flv").write_text("passed over")
    dataset = crema(root)
    assert dataset.bad_files() == []
    assert len(everything(ids(dataset))) == 60


def test_prepared_files_that_belong_nowhere(prepared_root: Path) -> None:
    def moved(name: str, folder: str, modality: str) -> Path:
        (old,) = prepared_root.glob(f"*/{modality}/*/{name}.*")
        new = old.parents[1] / folder / old.name
        new.parent.mkdir(exist_ok=True)
        return old.rename(new)

    # Of CLIPS, every seventh from the first on is in test.
    moved(CLIPS[1], "SAD", "visual")
    expected = {
        moved(CLIPS[1], "SAD", "audio"): "its name says DIS, its folder 'SAD'; move it",
        moved(CLIPS[2], "ANG", "visual"): "its name says FEA, its folder 'ANG'; move it",
        moved(
            CLIPS[3], "HAPPY", "audio"
        ): "its name says HAP, its folder 'HAPPY', which is not a class (did you mean 'HAP'?); move it",
        moved(CLIPS[4], ".", "audio"): "its name says NEU, its folder 'audio', which is not a class; move it",
    }
    twice = prepared_root / "test" / "audio" / "SAD" / f"{CLIPS[5]}.wav"
    write_sound(twice, 1)
    write_picture(prepared_root / "test" / "visual" / "SAD" / f"{CLIPS[5]}.jpg", 1)
    expected[twice] = f"the clip is in {prepared_root / 'train' / 'audio' / 'SAD'} too; remove one"
    (parted,) = prepared_root.glob(f"test/visual/*/{CLIPS[7]}.jpg")
    there = prepared_root / "train" / "visual" / parted.parent.name / parted.name
    parted.rename(there)
    expected[there] = (
        f"no sound file {CLIPS[7]!r} in {prepared_root / 'train' / 'audio'}; add it or remove this one"
    )
    left = prepared_root / "test" / "audio" / parted.parent.name / f"{CLIPS[7]}.wav"
    expected[left] = (
        f"no picture or video {CLIPS[7]!r} in {prepared_root / 'test' / 'visual'}; add it or remove this one"
    )
    dataset = crema(prepared_root)
    assert {Path(error.path): error.reason for error in dataset.bad_files()} == expected
    assert everything(ids(dataset)) == sorted({*CLIPS} - {*CLIPS[1:5], CLIPS[7]})


# Frames -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::scmrl_plugins.core.interfaces.RepairedFileWarning")
def test_frames_are_spread_over_the_steps(written: Path) -> None:
    rows = crema(written).splits()["test"][:1]
    assert rows["actor"] == [rows["id"][0][:4]]
    (one,) = crema(written).transform(rows)["visual"]
    assert one.shape == (1, 16, 16, 3)
    two = crema(written, frames=2)
    stored = {name: column[0] for name, column in two.transform(rows).items()}
    shown = two.inputs(stored, training=False)["visual"]
    assert shown.shape == (4, 3, 16, 16)
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[2], shown[3])
    assert not np.array_equal(shown[1], shown[2])


def test_a_prepared_picture_is_one_frame(written_prepared: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.frames = 2: \S+\.jpg is one frame; set it to 1"):
        crema(written_prepared, frames=2).splits()


# Bad files --------------------------------------------------------------------------------------------


def spoil_sound(write: Callable[[Path], object]) -> Callable[[Path, Path], Path]:
    def spoil(sound: Path, seen: Path) -> Path:
        write(sound)
        return sound

    return spoil


def spoil_video(write: Callable[[Path], object]) -> Callable[[Path, Path], Path]:
    def spoil(sound: Path, seen: Path) -> Path:
        write(seen)
        return seen

    return spoil


def without(sound: Path, seen: Path) -> Path:
    seen.unlink()
    return sound


def alone(sound: Path, seen: Path) -> Path:
    sound.unlink()
    return seen


def second(ending: str) -> Callable[[Path, Path], Path]:
    def spoil(sound: Path, seen: Path) -> Path:
        path = (sound if ending.lower() == ".wav" else seen).with_suffix(ending)
        path.write_bytes(b"x")
        return max(path, sound if ending.lower() == ".wav" else seen)

    return spoil


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700:] = bytes(255 - byte for byte in data[700:])
    path.write_bytes(data)


def cut(share: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


SPOILT: list[tuple[Callable[[Path, Path], Path], str]] = [
    (spoil_sound(cut(0.7)), "is cut off"),
    (spoil_sound(lambda path: path.write_bytes(b"")), "is empty (0 bytes)"),
    (spoil_sound(lambda path: soundfile.write(path, np.zeros(0), 16_000)), "holds no samples"),
    (spoil_sound(lambda path: soundfile.write(path, np.zeros(800), 16_000)), "nothing but silence"),
    (
        spoil_sound(lambda path: soundfile.write(path, np.full(800, np.nan), 16_000, subtype="FLOAT")),
        "NaN or infinity",
    ),
    (spoil_sound(lambda path: path.write_text(POINTER)), "git-lfs pointer"),
    (spoil_video(lambda path: path.write_text(POINTER)), "git-lfs pointer"),
    (spoil_video(cut(0.6)), "cut off"),
    (spoil_video(damaged), "the video is"),
    (spoil_video(lambda path: path.write_bytes(bytes(range(256)) * 8)), "not a video that can be read"),
    (spoil_video(lambda path: path.write_bytes(b"")), "is empty (0 bytes)"),
    (without, "no picture or video"),
    (alone, "no sound file"),
    (second(".WAV"), "has the same stem"),
    (second(".mp4"), "has the same stem"),
    (spoil_video(lambda path: (path.unlink(), path.mkdir())), "is a folder, a pipe or a device"),
]
if os.name == "posix" and os.geteuid() != 0:  # root may read anything
    SPOILT.append((spoil_video(lambda path: path.chmod(0)), "cannot be read (Permission denied)"))


@pytest.mark.slow
def test_planted_files_are_found_and_left_out(root: Path, cache: Path) -> None:
    expected: dict[Path, str] = {}
    for number, (spoil, reason) in enumerate(SPOILT):
        name = f"{ACTORS[number % 5]}_TIE_HAP_{'ABCDEFGHIJKLMNOPQ'[number]}Q"
        sound = write_sound(sound_of(root, name), number)
        path = spoil(sound, write_video(video_of(root, name), number))
        expected[path] = reason
        if "folder" in reason:
            expected[sound] = "no picture or video"
    for name, reason in (
        ("1001_TIE_JOY_XX", "'JOY' is not an emotion; CREMA-D has ANG, DIS, FEA, HAP, NEU, SAD; rename it"),
        ("1001_TIE_SAE_XX", "'SAE' is not an emotion (did you mean 'SAD'?)"),
        ("clip 7", "not named actor_sentence_emotion_level"),
        ("1001_tie_hap_xx", "not named actor_sentence_emotion_level"),
        ("感情", "not named actor_sentence_emotion_level"),
    ):
        expected[write_sound(sound_of(root, name), 1)] = reason
        expected[write_video(video_of(root, name), 1)] = reason
    found = prepared("crema-d", root=root, validation=0.25, sample_rate=22_050)
    assert_found(found, expected)
    assert sum(map(len, found.splits.values())) == len(CLIPS)
    lacks = "16000 Hz, resampled to 22050 Hz, holds nothing above 8000 Hz, where features reach to 11025 Hz"
    assert {what for _, what in found.repaired} == {lacks}
    assert {path for path, _ in found.repaired} >= {str(sound_of(root, name)) for name in CLIPS}


@pytest.mark.slow
def test_the_command_line(root: Path, cache: Path, tmp_path: Path) -> None:
    splits = ids(crema(root))
    options = [*sets({**SMALL, "dataset.root": root, "dataset.validation": 0.25, "dataset.frames": 2})]
    train = ("train", "--dataset", "crema-d", *options, "--device", "cpu", "-o")
    spoilt = video_of(root, splits["test"][0])
    cut(0.5)(spoilt)
    assert_refused(scmrl(*train, tmp_path / "stopped"), str(spoilt), "cut off", "data.on_bad=skip")
    checked = scmrl("data", "check", "crema-d", "--root", root, "--json")
    assert (json.loads(checked.out)["n"], checked.code) == (60, 1)
    assert [bad["path"] for bad in json.loads(checked.out)["bad"]] == [str(spoilt)]

    run = tmp_path / "run"
    done = scmrl(*train, run, "--set", "data.on_bad=skip")
    assert done.code == 0, done.err
    assert [bad["path"] for bad in json.loads((run / "skipped.json").read_text())] == [str(spoilt)]
    reported = json.loads(scmrl("eval", run, "--device", "cpu", "--json").out)
    assert (reported["n"], reported["skipped"]) == (len(splits["test"]) - 1, 1)
    assert [*reported["per_class"]] == list(CLASSES)

    soundfile.write(tmp_path / "mine.wav", tone(300, 48_000), 48_000)
    for seen in (video_of(root, CLIPS[0]), write_video(tmp_path / "mine.mp4", 1, size=(50, 30))):
        files = ["--audio", tmp_path / "mine.wav", "--visual", seen, "--device", "cpu"]
        predictions = json.loads(scmrl("predict", run, *files, "--json").out)["predictions"]
        assert {one["label"] for one in predictions} == {*CLASSES}
    files = ["--audio", tmp_path / "mine.wav", "--visual", spoilt, "--device", "cpu"]
    assert_refused(scmrl("predict", run, *files), str(spoilt), "cut off")


# What copies of the repository hold -----------------------------------------------------------------------

FAULTY = ("1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")


def test_clips_that_the_authors_call_faulty_are_left_out_by_name(root: Path) -> None:
    good = "1064_IEO_DIS_LO"  # which is not 1064_IEO_DIS_MD
    for number, name in enumerate((*FAULTY, good)):
        write_sound(sound_of(root, name), number)
        shutil.copy(video_of(root, CLIPS[0]), video_of(root, name))
    for split in ("by-actor", "random"):
        left_out, kept = crema(root, split=split), crema(root, split=split, faulty="keep")
        assert everything(ids(left_out)) == sorted([*CLIPS, good])
        assert everything(ids(kept)) == sorted([*CLIPS, *FAULTY, good])
        assert kept.bad_files() == []
        # The others are where they would be with them: a run made before has no clip of its test in training.
        for part, found in ids(left_out).items():
            assert [name for name in ids(kept)[part] if name not in FAULTY] == found
        reasons = {Path(error.path).stem: error.reason for error in left_out.bad_files()}
        assert {*reasons} == {*FAULTY}
        assert all("authors call faulty" in reason for reason in reasons.values())


def test_runs_made_before_keep_the_faulty_clips() -> None:
    field = CremaD.Config.model_fields["faulty"]
    assert (field.default, field.json_schema_extra) == ("leave out", {"before": "keep"})


def test_a_folder_that_git_lfs_fetched_in_part(root: Path) -> None:
    video_of(root, CLIPS[0]).write_text(POINTER)
    sound_of(root, CLIPS[1]).write_text(POINTER)
    dataset = crema(root)
    assert everything(ids(dataset)) == sorted(CLIPS[2:])
    assert {error.path for error in dataset.bad_files()} == {
        str(video_of(root, CLIPS[0])),
        str(sound_of(root, CLIPS[1])),
    }
    for error in dataset.bad_files():
        assert "is a git-lfs pointer" in error.reason
        assert "budget is spent, clone https://gitlab.com/cs-cooper-lab/crema-d-mirror" in error.reason
    for name in CLIPS:
        video_of(root, name).write_text(POINTER)
    with pytest.raises(UserError, match=r"VideoFlash: all 60 files are git-lfs pointers.*crema-d-mirror"):
        crema(root).splits()


def test_mp3_where_there_is_no_wav(root: Path) -> None:
    (root / "AudioMP3").mkdir()
    for name in CLIPS:
        soundfile.write(root / "AudioMP3" / f"{name}.mp3", tone(300, 44_100), 44_100, format="MP3")

    def endings(**options: object) -> set[str]:
        rows = crema(root, **options).splits()["train"]
        return {Path(cell["path"]).suffix for cell in rows["audio"]}

    assert endings() == {".wav"}
    assert endings(sound="AudioMP3") == {".mp3"}
    shutil.rmtree(root / "AudioWAV")
    assert endings() == {".mp3"}
    with pytest.raises(UserError, match="AudioWAV: no such folder"):
        crema(root, sound="AudioWAV").splits()
