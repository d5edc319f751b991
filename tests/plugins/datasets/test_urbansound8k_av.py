"""UrbanSound8K-AV: its splits, its folders and metadata, and what is bad in them."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from planted_files import SMALL, assert_found, assert_refused, copy, plant, prepared, scmrl, sets
from pydantic import ValidationError

from scmrl_plugins.core.interfaces import SPLITS, ModelConfig
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture, write_sound
from scmrl_plugins.plugins.datasets.urbansound8k_av import CLASSES, UrbanSound8KAV
from scmrl_plugins.registry import UserError


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature: 10 classes of 4 recordings of 2 slices; not to be changed."""
    root = tmp_path_factory.mktemp("urbansound8k-av")
    UrbanSound8KAV.fixture(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy of the miniature, to be changed."""
    return copy(written, tmp_path / "root")


def urban(root: Path, **settings: object) -> UrbanSound8KAV:
    settings = {"root": str(root), "validation": 0.3, **settings}
    return UrbanSound8KAV(UrbanSound8KAV.Config.model_validate(settings), ModelConfig(image_size=16))


def ids(dataset: UrbanSound8KAV) -> dict[str, list[str]]:
    return {name: split["id"][:] for name, split in dataset.splits().items()}


def recordings(names: list[str]) -> set[str]:
    return {name.split("/")[1].split("-")[0] for name in names}


def sound_of(root: Path, name: str) -> Path:
    return root / "Dataset_v3_sound" / f"{name}.wav"


def picture_of(root: Path, name: str) -> Path:
    return root / "Dataset_v3_vision" / f"{name}.jpg"


@pytest.mark.parametrize("seed", range(5))
def test_no_recording_is_in_two_splits(written: Path, seed: int) -> None:
    dataset = urban(written, seed=seed)
    splits = dataset.splits()
    named = [recordings(splits[name]["id"][:]) for name in SPLITS]
    assert sum(map(len, named)) == len(set.union(*named)) == 40
    for name, slices in zip(SPLITS, (4, 2, 2), strict=True):
        assert Counter(splits[name]["label"]) == dict.fromkeys(range(10), slices)
        for row in splits[name]:
            assert CLASSES[row["label"]] == row["id"].split("/")[0]
            assert row["audio"] == {"bytes": None, "path": str(sound_of(written, row["id"]))}
            assert row["visual"] == {"bytes": None, "path": str(picture_of(written, row["id"]))}
    assert dataset.bad_files() == []


def test_the_seed_draws_and_the_share_for_validation_leaves_the_test_as_it_is(written: Path) -> None:
    drawn = [ids(urban(written, seed=seed))["test"] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert ids(urban(written, validation=0.5))["test"] == drawn[0]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=30),
    st.floats(0.05, 0.95),
    st.integers(0, 2**32),
)
def test_grouped_divides_no_group_and_nears_the_shares(
    groups: list[tuple[int, int]], share: float, seed: int
) -> None:
    sizes = [size for _, size in groups]
    labels = np.repeat(np.array([label for label, _ in groups], dtype=int), sizes)
    members = np.repeat(np.arange(len(groups)), sizes)
    parts = grouped(labels, members, share, np.random.default_rng(seed))
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert not {*members[parts[0]]} & {*members[parts[1]]}
    assert all(len(part) for part in parts) or len(groups) < 2
    if any(len({*members[part]}) < 2 for part in parts):
        return  # of which one may have been taken so that neither is empty
    for label in {*labels}:
        largest = max(size for own, size in groups if own == label)
        assert abs((labels[parts[1]] == label).sum() - share * (labels == label).sum()) <= largest / 2 + 1e-9


def test_sorted_is_the_last_of_each_class_by_name(written: Path) -> None:
    found = ids(urban(written, split="sorted"))
    for name in CLASSES:
        stems = sorted(path.stem for path in (written / "Dataset_v3_sound" / name).iterdir())
        in_order = [f"{name}/{stem}" for stem in stems]
        # of 8: round(0.7 * 8) = 6 to training, of which round(0.7 * 6) = 4 are left after validation
        for split, part in zip(SPLITS, (in_order[:4], in_order[4:6], in_order[6:]), strict=True):
            assert [one for one in found[split] if one.startswith(f"{name}/")] == part


def test_random_is_stratified_and_puts_one_recording_in_two_splits(written: Path) -> None:
    splits = urban(written, split="random").splits()
    for name, count in zip(SPLITS, (4, 2, 2), strict=True):
        assert Counter(splits[name]["label"]) == dict.fromkeys(range(10), count)
    found = {name: split["id"][:] for name, split in splits.items()}
    assert sum(map(len, found.values())) == len({*found["train"], *found["validation"], *found["test"]}) == 80
    assert recordings(found["train"]) & recordings(found["test"])  # what is wrong with it
    assert found == ids(urban(written, split="random"))
    assert found != ids(urban(written, split="random", seed=1))


def test_official_folds(written: Path) -> None:
    found = ids(urban(written, split="folds", test_fold=1, validation_fold=4))
    # as the miniature numbers them: recording 1000 is in fold 1, 1001 in fold 2, ...
    assert {int(name) % 10 for name in recordings(found["test"])} == {0}
    assert {int(name) % 10 for name in recordings(found["validation"])} == {3}
    assert {int(name) % 10 for name in recordings(found["train"])} == {1, 2, 4, 5, 6, 7, 8, 9}
    assert sum(map(len, found.values())) == 80


def test_the_metadata_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    expected = ids(urban(root, split="folds"))
    shutil.move(root / "metadata" / "UrbanSound8K.csv", root / "UrbanSound8K.csv")
    assert ids(urban(root, split="folds")) == expected
    shutil.move(root / "UrbanSound8K.csv", tmp_path / "mine.csv")
    assert ids(urban(root, split="folds", metadata=str(tmp_path / "mine.csv"))) == expected
    with pytest.raises(UserError, match=r"no UrbanSound8K\.csv or metadata/UrbanSound8K\.csv.*dataset\.metadata"):
        urban(root, split="folds").splits()


def test_an_older_copy_of_the_metadata(root: Path) -> None:
    expected = ids(urban(root, split="folds"))
    path = root / "metadata" / "UrbanSound8K.csv"
    path.write_text(path.read_text().replace(",class\n", ",class_name\n").replace(",", ";"))
    assert ids(urban(root, split="folds")) == expected


def change(old: str, new: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return changed


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (change("fold,classID", "folds,classID"), r"line 1: no column 'fold' \(did you mean 'folds'\?\)"),
        (
            change("1000-0-0-0.wav,1000,0.0,4.0,1,1", "1000-0-0-0.wav,1000,0.0,4.0,1,11"),
            "line 2, column 'fold': '11'",
        ),
        (change("1000-0-0-1.wav", "1000-0-0-0.wav"), None),
        (
            change("1001-0-0-0.wav", "1000-0-0-0.wav"),
            "line 4, column 'slice_file_name': '1000-0-0-0' is in two folds",
        ),
        (change(",class\n", ",kind\n"), "no column 'class' or 'class_name'"),
        (lambda text: "", "is empty"),
        (lambda text: text.split("\n")[0], "none of 80 samples are left for the train split.*80 files are bad"),
        (lambda text: text + '"open', "after line 81: cannot be read as CSV"),
    ],
)
def test_metadata_that_cannot_be(root: Path, edit: Callable[[str], str], reason: str | None) -> None:
    path = root / "metadata" / "UrbanSound8K.csv"
    path.write_text(edit(path.read_text()), encoding="utf-8-sig")  # a byte order mark is taken
    dataset = urban(root, split="folds")
    if reason:
        with pytest.raises(UserError, match=reason) as caught:
            dataset.splits()
        assert "\n" not in str(caught.value)
    else:  # one row twice is no harm, but leaves a slice without a fold
        assert [(error.path, error.reason.split(",")[0]) for error in dataset.bad_files()] == [
            (str(sound_of(root, "air_conditioner/1000-0-0-1")), f"is not in {path}")
        ]


def test_a_slice_of_another_class_in_the_metadata_is_bad(root: Path) -> None:
    path = root / "metadata" / "UrbanSound8K.csv"
    moved = change("1033-8-0-1.wav,1033,4.0,8.0,1,4,8,siren", "1033-8-0-1.wav,1,4,8,1,4,3,dog_bark")
    path.write_text(moved(path.read_text()))
    (error,) = urban(root, split="folds").bad_files()
    assert error.path == str(sound_of(root, "siren/1033-8-0-1"))
    assert error.reason.startswith("is 'dog_bark' in ")


def test_a_name_that_hides_its_recording(root: Path) -> None:
    for where in (sound_of, picture_of):
        where(root, "siren/1032-8-0-0").rename(where(root, "siren/nice siren"))
    dataset = urban(root)
    assert sum(map(len, ids(dataset).values())) == 79
    (error,) = dataset.bad_files()
    assert error.path == str(sound_of(root, "siren/nice siren"))
    assert "<fsID>-<classID>-<occurrence>-<slice>" in error.reason
    assert sum(map(len, ids(urban(root, split="random")).values())) == 80


def test_names_that_all_hide_their_recordings(root: Path) -> None:
    for path in sorted(root.rglob("*-0-?.*")):
        path.rename(path.with_stem(f"a{path.stem}"))
    with pytest.raises(UserError, match=r"nor is any other file; .* dataset\.split to 'sorted' or 'random'"):
        urban(root).splits()
    assert sum(map(len, ids(urban(root, split="sorted")).values())) == 80


def test_names_in_any_script_and_of_any_length(root: Path) -> None:
    names = ["サイレン", unicodedata.normalize("NFC", "Żółw"), "s" * 240]
    for place, name in enumerate(names):
        write_sound(sound_of(root, f"siren/{name}"), place)
        write_picture(picture_of(root, f"siren/{unicodedata.normalize('NFD', name)}"), place)
    dataset = urban(root, split="random")
    found = {one for split in ids(dataset).values() for one in split}
    assert {f"siren/{name}" for name in names} <= found
    assert dataset.bad_files() == []


@pytest.mark.parametrize("missing", ["Dataset_v3_sound", "Dataset_v3_vision"])
def test_a_missing_folder_is_named(root: Path, missing: str) -> None:
    shutil.rmtree(root / missing)
    with pytest.raises(UserError, match=rf"{missing}: no such folder; set dataset\.root"):
        urban(root).splits()


def test_a_missing_class_is_bad(root: Path) -> None:
    folders = [root / "Dataset_v3_sound" / "siren", root / "Dataset_v3_vision" / "siren"]
    for folder in folders:
        shutil.rmtree(folder)
    dataset = urban(root)
    assert [error.path for error in dataset.bad_files()] == [str(folder) for folder in folders]
    assert sum(map(len, ids(dataset).values())) == 72


def test_files_of_no_class(root: Path) -> None:
    write_sound(root / "Dataset_v3_sound" / "sirens" / "1-8-0-0.wav", 1)
    write_picture(root / "Dataset_v3_vision" / "sirens" / "1-8-0-0.jpg", 1)
    write_sound(root / "Dataset_v3_sound" / "2-8-0-0.wav", 1)
    (root / "Dataset_v3_sound" / ".cache").mkdir()
    (root / "Dataset_v3_vision" / "loop").symlink_to("..")
    dataset = urban(root)
    assert {error.path: error.reason for error in dataset.bad_files()} == {
        str(root / "Dataset_v3_sound" / "2-8-0-0.wav"): "is in no class's folder; move it to one",
        str(sound_of(root, "sirens/1-8-0-0")): "'sirens' is not a class of UrbanSound8K (did you mean 'siren'?); "
        "rename or move it",
    }
    assert sum(map(len, ids(dataset).values())) == 80


@pytest.mark.parametrize("split", ["by-recording", "sorted", "random"])
def test_no_share_is_too_small_for_a_sample(written: Path, split: str) -> None:
    found = ids(urban(written, split=split, validation=0.001))
    assert len(recordings(found["validation"])) == 1
    assert sum(map(len, found.values())) == 80


def test_a_fold_without_samples_is_named(root: Path) -> None:
    path = root / "metadata" / "UrbanSound8K.csv"
    path.write_text(path.read_text().replace(",1,10,", ",1,8,"))
    with pytest.raises(UserError, match=r"none of 80 samples are left for the test split; change dataset\.split"):
        urban(root, split="folds").splits()


def test_folds_that_cannot_be() -> None:
    for settings in ({"test_fold": 9}, {"test_fold": 11}, {"split": "fold"}):
        with pytest.raises(ValidationError):
            UrbanSound8KAV.Config.model_validate(settings)


def test_planted_files_are_found_and_left_out(root: Path, cache: Path) -> None:
    expected = plant(root / "Dataset_v3_sound" / "siren", root / "Dataset_v3_vision" / "siren", "77-8-0-")
    other_rate, stereo = sound_of(root, "siren/1032-8-0-0"), sound_of(root, "siren/1032-8-0-1")
    soundfile.write(other_rate, tone(rate=44_100), 44_100)
    soundfile.write(stereo, np.stack([tone(rate=22_050)] * 2, axis=1), 22_050)
    found = prepared("urbansound8k-av", root=root, validation=0.3)
    assert_found(found, expected)
    assert sum(map(len, found.splits.values())) == 80
    assert dict(found.repaired) == {
        str(other_rate): "44100 Hz, resampled to 22050 Hz",
        str(stereo): "2 channels, averaged to one",
    }


@pytest.mark.slow
def test_the_command_line(root: Path, cache: Path, tmp_path: Path) -> None:
    split = ids(urban(root))
    spoilt = picture_of(root, split["test"][0])
    spoilt.write_text("version https://git-lfs.github.com/spec/v1")
    run = tmp_path / "run"
    options = [*sets({**SMALL, "dataset.root": root, "dataset.validation": 0.3}), "--device", "cpu"]
    train = ("train", "--dataset", "urbansound8k-av", *options, "-o", run)
    assert_refused(scmrl(*train), str(spoilt), "git-lfs pointer")
    checked = json.loads(scmrl("data", "check", "urbansound8k-av", "--root", root, "--json").out)
    assert (checked["n"], [bad["path"] for bad in checked["bad"]]) == (80, [str(spoilt)])
    done = scmrl(*train, "--set", "data.on_bad=skip")
    assert done.code == 0, done.err
    assert [bad["path"] for bad in json.loads((run / "skipped.json").read_text())] == [str(spoilt)]
    reported = json.loads(scmrl("eval", run, "--json").out)
    assert (reported["n"], reported["skipped"]) == (19, 1)
    assert [*reported["per_class"]] == list(CLASSES)
    files = ["--audio", sound_of(root, split["test"][1]), "--visual", picture_of(root, split["test"][1])]
    predictions = json.loads(scmrl("predict", run, *files, "--json").out)["predictions"]
    assert {one["label"] for one in predictions} == {*CLASSES}


def test_without_a_root_the_remedy_is_named() -> None:
    assert_refused(scmrl("train", "--dataset", "urbansound8k-av"), "dataset.root")
