"""Data sets of clips with their own sound, each in its exact format, with the faults that copies of it have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_files import POINTER, SMALL, prepared, scmrl, sets

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.ave import AVE
from scmrl_plugins.plugins.datasets.files.clips import Clip, Media, cut_name, kept_apart
from scmrl_plugins.plugins.datasets.kinetics_sounds import VARIANTS, KineticsSounds
from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip
from scmrl_plugins.plugins.datasets.miniatures.vggsound import LABELS
from scmrl_plugins.plugins.datasets.ravdess import Ravdess
from scmrl_plugins.plugins.datasets.vggsound import VGGSound
from scmrl_plugins.registry import UserError

SETS: dict[str, Any] = {
    "ave": AVE,
    "kinetics-sounds": KineticsSounds,
    "vggsound": VGGSound,
    "ravdess": Ravdess,
}
Faults = dict[Path, str]


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The miniature of every data set; not to be changed."""
    written = {}
    for name, cls in SETS.items():
        root = tmp_path_factory.mktemp(name)
        written[name] = (root, dict(cls.fixture(root)))
    return written


@pytest.fixture
def copied(miniatures: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a miniature by name, to be changed."""
    return lambda name: Path(shutil.copytree(miniatures[name][0], tmp_path / name))


def built(name: str, root: Path, **options: object) -> Any:
    config = SETS[name].Config.model_validate({"root": str(root), "validation": 0.3, **options})
    return SETS[name](SETS[name].settle(config), ModelConfig(image_size=16, steps=2))


def ids(dataset: Any) -> dict[str, list[str]]:
    return {split: rows["id"][:] for split, rows in dataset.splits().items()}


def faults(dataset: Any) -> dict[str, str]:
    dataset.splits()
    return {Path(error.path).name: error.reason for error in dataset.bad_files()}


def add(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


# Faults, one of each kind that a copy of the data set has -----------------------------------------------


def ave_faults(root: Path) -> Faults:
    clips, annotations = root / "AVE", root / "Annotations.txt"
    shared, vanished, again = "-a_00000000", "-a_00000001", "-a_00000002"  # all in trainSet.txt
    rows = {
        root / "testSet.txt": f"Bark&{shared}&good&0&10",
        root / "trainSet.txt": f"Bark&{again}&good&2&7",
        root / "valSet.txt": "Bark&zero_length&good&0&0",
    }
    for path, row in rows.items():
        add(path, row)
        add(annotations, row)
    add(annotations, "Bark&nowhere_000&good&0&10")
    add(root / "trainSet.txt", "Barking&misspelt_00&good&0&10", "Bark&four_cells&0&10")
    (clips / f"{vanished}.mp4").unlink()
    write_clip(clips / "unlisted_00.mp4", 90)
    (clips / "-a_00000005.mp4").write_text(POINTER)
    return {
        clips / f"{shared}.mp4": "is in the train split (trainSet.txt, line 1), and its video",
        clips / f"{again}.mp4": "is listed again in trainSet.txt, line 13, after trainSet.txt, line 3",
        clips / f"{vanished}.mp4": "no such file, which trainSet.txt, line 2 lists",
        clips / "unlisted_00.mp4": "is in no list",
        clips / "-a_00000005.mp4": "is a git-lfs pointer",
        root / "valSet.txt": "line 5, column 'EndTime': the event of zero_length lasts from 0 to 0 s",
        root / "trainSet.txt": "'Barking' is not a class of AVE (did you mean 'Bark'?)",
        annotations: "line 25: the clip nowhere_000 is in none of trainSet.txt, valSet.txt, testSet.txt",
    }


def kinetics_faults(root: Path) -> Faults:
    clips = root / "clips"
    add(root / "my_test.txt", "_k-00000000_0,10,0", "_k-00000042_0,10,31", "_k-short_0,10,3")
    (clips / "_k-00000001_000003_000013.mp4").unlink()
    write_clip(clips / "_k-00000002_6_16.mp4", 91)
    first = sorted(clips.glob("_k-00000002_*"))
    write_clip(clips / "other0_0000_000000_000010.mp4", 92)  # of Kinetics, but not of the lists
    return {
        clips
        / "_k-00000000_000000_000010.mp4": "its video _k-00000000 in the test split (my_test.txt, line 4) too",
        clips / "_k-00000001_000003.mp4": "no such file, which my_train.txt, line 2 lists",
        first[1]: f"{first[0]} is the clip _k-00000002_000006 already",
        root / "my_test.txt": "'31' is not one of the 31 classes; correct it, or set dataset.variant",
    }


def vggsound_faults(root: Path) -> Faults:
    clips = root / "video"
    video = sorted(clips.glob("-v0_0000000_*"))[0]  # has two clips, in train
    write_clip(clips / "-v0_0000000_000200.mp4", 93)
    add(root / "vggsound.csv", f"-v0_0000000,200,{LABELS[0]},test", f"-v2_0000009,5,{LABELS[2]},dev")
    gone = sorted(clips.glob("-v1_*"))[0]
    gone.unlink()
    write_clip(clips / "unlisted_00_000010.mp4", 94)
    other = sorted(clips.glob("-v0_0000000_*"))[1]
    reason = "is in the train split (vggsound.csv, line 1), and its video -v0_0000000 in the test split"
    return {
        video: reason,
        other: reason.replace("line 1", "line 2"),
        gone: "no such file, which vggsound.csv, line 9 lists",
        clips / "unlisted_00_000010.mp4": "is not in vggsound.csv",
        root / "vggsound.csv": "line 26, column 'split': 'dev' is neither train nor test",
    }


def ravdess_faults(root: Path) -> Faults:
    folder = root / "Actor_01"
    twice = root / "Video" / "Actor_01" / "01-01-03-01-01-01-01.mp4"
    write_clip(twice, 1)
    planted = {
        folder / "01-01-01-02-01-01-01.mp4": "a strong intensity of neutral",
        folder / "01-01-09-01-01-01-01.mp4": "emotion 09 is not one of 01 to 08",
        folder / "01-01-02-01-01-01-02.mp4": "its name says actor 02, its folder Actor_01",
        folder / "01-02-07-01-01-01-01.mp4": "names a song of disgust",
        root / "Actor_18" / "01-02-03-01-01-01-18.mp4": "a song of actor 18, who sang none",
        folder / "happy.mp4": "is not named as a take of RAVDESS",
        folder / "02-01-05-01-02-02-01.mp4": "copy 01-01-05-01-02-02-01.mp4, which has both",
        folder / "03-01-06-01-02-02-01.wav": "copy 01-01-06-01-02-02-01.mp4, which has both",
    }
    for path in planted:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    first, second = sorted([twice, folder / twice.name])
    return {**planted, second: f"{first} is the same take"}


PLANTED = {
    "ave": ave_faults,
    "kinetics-sounds": kinetics_faults,
    "vggsound": vggsound_faults,
    "ravdess": ravdess_faults,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_planted_faults_are_found_by_name_and_the_rest_is_used(
    name: str, copied: Callable[[str], Path], cache: Path
) -> None:
    root = copied(name)
    expected = PLANTED[name](root)
    found = prepared(name, root=root, validation=0.3)
    reasons: dict[str, str] = {}
    for path, reason in found.bad:  # a list may have several bad lines
        reasons[path] = f"{reasons.get(path, '')} {reason}"
    assert {*reasons} == {*map(str, expected)}
    for path, reason in expected.items():
        assert reason in reasons[str(path)], path
    assert all(len(rows) for rows in found.splits.values())


@pytest.mark.slow
def test_an_epoch_with_planted_faults(copied: Callable[[str], Path], tmp_path: Path, cache: Path) -> None:
    """Videos vanish from YouTube: training continues without them and reports how many."""
    root = copied("ave")
    expected = ave_faults(root)
    options = sets({**SMALL, "dataset.root": root})
    run = tmp_path / "run"
    done = scmrl("train", "--dataset", "ave", *options, "--device", "cpu", "-o", run)
    assert done.code == 0, done.err
    skipped = {row["path"] for row in json.loads((run / "skipped.json").read_text())}
    assert skipped == {*map(str, expected)}
    reported = json.loads(scmrl("eval", run, "--device", "cpu", "--json").out)
    assert reported["n"] == 5
    clip = root / "AVE" / "-a_00000003.mp4"
    ranked = json.loads(scmrl("predict", run, "--audio", clip, "--visual", clip, "--device", "cpu", "--json").out)
    assert len(ranked["predictions"]) == 28


# AVE ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ave_as_published_keeps_what_its_lists_repeat(copied: Callable[[str], Path]) -> None:
    root = copied("ave")
    add(root / "testSet.txt", "Bark&-a_00000000&good&0&10")
    add(root / "trainSet.txt", "Bark&-a_00000000&good&0&0")
    add(root / "Annotations.txt", "Bark&-a_00000000&good&0&0")
    honest, published = built("ave", root), built("ave", root, split="official")
    assert "-a_00000000" not in ids(honest)["train"]
    assert ids(honest)["test"].count("-a_00000000") == 1
    found = ids(published)
    assert [sum(name.startswith("-a_00000000") for name in found[split]) for split in found] == [2, 0, 1]
    labels = dict(zip(found["train"], published.splits()["train"]["label"], strict=True))
    assert [AVE.classes[labels[name]] for name in ("-a_00000000", "-a_00000000:2")] == ["Church bell", "Bark"]
    assert published.bad_files() == []


def test_the_part_of_a_clip_in_which_the_event_lasts(copied: Callable[[str], Path]) -> None:
    root = copied("ave")
    for path in root.glob("*.txt"):
        path.write_text(path.read_text().replace("-a_00000000&good&0&10", "-a_00000000&good&3&7"))
    clip = {"start": "start", "seconds": "seconds"}
    rows = built("ave", root, clip=clip).splits()["train"]
    paths = {name: cell["path"] for name, cell in zip(rows["id"], rows["visual"], strict=True)}
    assert paths["-a_00000000"].endswith("-a_00000000.mp4#t=3.0,7.0")
    assert not any("#t=" in cell["path"] for cell in built("ave", root).splits()["train"]["visual"])
    with pytest.raises(UserError, match="'begin' is no column of AVE"):
        built("ave", root, clip={"start": "begin"})


@pytest.mark.parametrize("heading", [True, False])
def test_annotations_with_and_without_a_heading(copied: Callable[[str], Path], heading: bool) -> None:
    root = copied("ave")
    for name in ("Annotations.txt", "testSet.txt"):
        lines = [line for line in (root / name).read_text().splitlines() if not line.startswith("Category&")]
        top = ["Category&VideoID&Quality&StartTime&EndTime"] if heading else []
        (root / name).write_text("\r\n".join([*top, *lines, ""]), encoding="utf-8-sig")
    dataset = built("ave", root)
    assert {split: len(part) for split, part in ids(dataset).items()} == {"train": 12, "validation": 4, "test": 4}
    assert dataset.bad_files() == []


def test_classes_of_ave_in_the_short_names_of_tables(copied: Callable[[str], Path]) -> None:
    assert len(AVE.classes) == len({*AVE.classes}) == 28
    root = copied("ave")
    for path in root.glob("*.txt"):
        path.write_text(path.read_text().replace("Male speech, man speaking", "Male speech"))
    assert built("ave", root).bad_files() == []


def test_lists_that_are_missing(copied: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied("ave")
    (root / "valSet.txt").unlink()
    with pytest.raises(UserError, match=r"valSet\.txt: cannot be read"):
        built("ave", root).splits()
    with pytest.raises(UserError, match=r"vggsound\.csv: cannot be read .* dataset\.table"):
        built("vggsound", tmp_path)
    with pytest.raises(UserError, match=r"my_train\.txt: cannot be read .* dataset\.train_list"):
        built("kinetics-sounds", tmp_path).splits()
    shutil.copy(root / "testSet.txt", root / "valSet.txt")
    shutil.rmtree(root / "AVE")
    with pytest.raises(UserError, match="holds none of the 16 clips that its lists name, such as -a_00000004"):
        built("ave", root).splits()


# Kinetics-Sounds and VGGSound ---------------------------------------------------------------------------


def test_the_variants_of_kinetics_sounds(copied: Callable[[str], Path]) -> None:
    assert {name: len({*classes}) for name, classes in VARIANTS.items()} == {"31": 31, "33": 33, "34": 34}
    named = [VARIANTS["31"][index] for index in (0, 7, 21, 22, 30)]
    assert named == ["blowing_nose", "playing_accordion", "playing_xylophone", "ripping_paper", "tickling"]
    assert {*VARIANTS["33"]} - {*VARIANTS["31"]} == {"finger_snapping", "tying_tie"}
    root = copied("kinetics-sounds")
    add(root / "my_train.txt", "_k-00000005_15,10,finger snapping")
    assert "'snapping' is not one of the 31" in faults(built("kinetics-sounds", root))["my_train.txt"]


def test_kinetics_in_folders_of_classes(tmp_path: Path) -> None:
    number = 0
    for split, count in (("train", 4), ("val", 1), ("test", 1)):
        for folder in ("finger snapping", "tying_tie"):
            for _ in range(count):
                write_clip(tmp_path / split / folder / f"f{number:010d}_000001_000011.mp4", number)
                number += 1
    write_clip(tmp_path / "train" / "bowling alley" / "bowling0000_000001_000011.mp4", 1)
    dataset = built("kinetics-sounds", tmp_path, variant="33")
    assert {split: len(part) for split, part in ids(dataset).items()} == {"train": 8, "validation": 2, "test": 2}
    labels = {dataset.classes[label] for label in dataset.splits()["train"]["label"]}
    assert labels == {"finger_snapping", "tying_tie"}
    assert (
        "'bowling alley' is not one of the 33 classes (did you mean 'bowling'?)"
        in (faults(dataset)["bowling0000_000001_000011.mp4"])
    )


def test_vggsound_without_music_and_still_pictures(copied: Callable[[str], Path]) -> None:
    root = copied("vggsound")
    names = ids(built("vggsound", root))["train"]
    (root / "music.csv").write_text(f"video,music\n{names[0][:11]},{int(names[0][12:])},1\n")
    (root / "still.txt").write_text(f"{names[1]}.mp4\n")
    dataset = built("vggsound", root, music=str(root / "music.csv"), still=str(root / "still.txt"))
    left = {name for part in ids(dataset).values() for name in part}
    assert not left & {names[0], names[1]}
    reasons = faults(dataset)
    assert "has music that is not seen by music.csv, line 2" in reasons[f"{names[0]}.mp4"]
    assert "has a still picture by still.txt, line 1" in reasons[f"{names[1]}.mp4"]
    (root / "still.txt").write_text("nothing\n")
    with pytest.raises(UserError, match=r"still\.txt: names no clip"):
        built("vggsound", root, still=str(root / "still.txt")).splits()


def test_vggsound_has_the_classes_of_its_list_and_videos_apart(copied: Callable[[str], Path]) -> None:
    root = copied("vggsound")
    dataset = built("vggsound", root)
    assert dataset.classes == tuple(sorted(LABELS))
    videos = {split: [name[:11] for name in part] for split, part in ids(dataset).items()}
    assert sum(len({*part}) for part in videos.values()) == len(set().union(*videos.values()))
    assert any(len(part) > len({*part}) for part in videos.values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("-0_abc-d_ef_7", "-0_abc-d_ef_000007"),
        ("-0_abc-d_ef_000007_000017", "-0_abc-d_ef_000007"),
        ("___________0", None),
        ("____________12", "____________000012"),
        ("short_000007", None),
        ("-0_abc-d_ef", None),
        ("-0_abc-d_ef_7_x", None),
    ],
)
def test_names_of_clips(text: str, name: str | None) -> None:
    assert cut_name(text) == name


def test_a_video_in_two_splits_stays_in_the_test() -> None:
    clips = [
        Clip("a1", 0, "train", "a", "x, line 1"),
        Clip("b1", 0, "validation", "b", "x, line 2"),
        Clip("a2", 0, "test", "a", "x, line 3"),
        Clip("b2", 0, "train", "b", "x, line 4"),
        Clip("c1", 0, "train", "c", "x, line 5"),
        Clip("c2", 0, "train", "c", "x, line 6"),
    ]
    bad: list[Any] = []
    media = {clip.name: Media(Path(clip.name), Path(clip.name)) for clip in clips}
    kept = {clip.name for clip in kept_apart(clips, media, bad)}
    assert kept == {"a2", "b1", "c1", "c2"}
    assert [error.path for error in bad] == ["a1", "b2"]


# RAVDESS ------------------------------------------------------------------------------------------------


def test_actors_of_ravdess_are_apart_unless_clips_are_drawn(
    miniatures: dict[str, tuple[Path, dict[str, Any]]],
) -> None:
    root = miniatures["ravdess"][0]
    for seed in range(3):
        actors = [{*rows["actor"]} for rows in built("ravdess", root, seed=seed).splits().values()]
        assert all(actors)
        assert sum(map(len, actors)) == len(set.union(*actors)) == 4
    drawn = built("ravdess", root, split="random").splits()
    assert {*drawn["train"]["actor"]} & {*drawn["test"]["actor"]}
    assert all(name.startswith("01-01-") for rows in drawn.values() for name in rows["id"])


def test_ravdess_without_a_take_of_both_modalities(copied: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no video 01-\.\.\., with picture and sound"):
        built("ravdess", copied("ravdess"), channel="song").splits()
