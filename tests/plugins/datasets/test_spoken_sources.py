"""The collections of spoken digits in their layouts: what is found, what is bad, and who is in which split."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from digit_files import spoken
from hypothesis import given
from hypothesis import strategies as st
from paths import REAL
from planted_files import scmrl, sets

from scmrl_plugins.plugins.datasets.media.idx import INTEGERS, idx_bytes, read_idx
from scmrl_plugins.plugins.datasets.miniatures.digits import (
    HASHES,
    write_arabic,
    write_audiomnist,
    write_fsdd,
    write_mnist,
    write_qmnist,
    write_speech_commands,
)
from scmrl_plugins.plugins.datasets.sources.audiomnist import TEST_SPEAKERS
from scmrl_plugins.plugins.datasets.sources.speech_commands import share
from scmrl_plugins.plugins.datasets.sources.spoken import FOLDS, dealt, split_of
from scmrl_plugins.plugins.datasets.spoken_digits import SOURCES
from scmrl_plugins.registry import UserError

WRITERS: dict[str, Callable[..., None]] = {
    "fsdd": write_fsdd,
    "arabic": write_arabic,
    "audiomnist": write_audiomnist,
    "speech-commands": write_speech_commands,
}
FOLDERS = {
    "fsdd": "free-spoken-digit-dataset",
    "arabic": "arabic-digits",
    "audiomnist": "AudioMNIST",
    "speech-commands": "speech_commands_v0.02",
}
PAIRS = {"train_pairs": 1, "test_pairs": 1}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All collections beside MNIST and QMNIST's labels, not to be changed."""
    root = tmp_path_factory.mktemp("spoken")
    for speech, write in WRITERS.items():
        write(root / FOLDERS[speech], count=6 if speech == "fsdd" else 1)
    write_mnist(root / "mnist", count=800)
    write_qmnist(root / "qmnist", count=800)
    return root


def groups(splits: datasets.DatasetDict, column: str) -> dict[str, set[str]]:
    return {name: set(split[column]) for name, split in splits.items()}


def assert_apart(parts: dict[str, set[str]]) -> None:
    assert all(parts.values())
    assert sum(map(len, parts.values())) == len(set.union(*parts.values()))


@pytest.mark.slow
@pytest.mark.parametrize("speech", WRITERS)
def test_speakers_and_writers_are_apart_in_every_fold(written: Path, speech: str) -> None:
    tested: dict[str, list[str]] = {"speaker": [], "writer": []}
    everyone: dict[str, set[str]] = {"speaker": set(), "writer": set()}
    for fold in range(FOLDS):
        digits = spoken(written, speech=speech, split="by-speaker", fold=fold, **PAIRS)
        assert tuple(digits.group_columns) == ("speaker", "writer")
        splits = digits.splits()
        for column in digits.group_columns:
            parts = groups(splits, column)
            assert_apart(parts)
            tested[column] += parts["test"]
            everyone[column] |= set.union(*parts.values())
        identifiers = [identifier for split in splits.values() for identifier in split["id"]]
        assert len(identifiers) == len(set(identifiers))
    assert sorted(tested["speaker"]) == sorted(everyone["speaker"])  # each once
    assert len(tested["writer"]) == len(set(tested["writer"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("speech", "sizes"),
    [("arabic", (6, 2, 2)), ("audiomnist", (36, 12, 12)), ("speech-commands", (8, 1, 1))],
)
def test_the_published_split(written: Path, speech: str, sizes: tuple[int, ...]) -> None:
    splits = spoken(written, speech=speech, **PAIRS).splits()
    speakers = groups(splits, "speaker")
    assert_apart(speakers)
    assert tuple(map(len, speakers.values())) == sizes
    for split in splits.values():
        assert set(split["label"]) == set(range(10))
    if speech == "speech-commands":
        assert (speakers["validation"], speakers["test"]) == ({HASHES[0]}, {HASHES[1]})


def test_audiomnist_has_five_published_folds(written: Path) -> None:
    assert sorted(sum(TEST_SPEAKERS, ())) == list(range(1, 61))
    speakers = groups(spoken(written, speech="audiomnist", fold=3, **PAIRS).splits(), "speaker")
    assert speakers["test"] == {f"{number:02d}" for number in TEST_SPEAKERS[3]}
    assert speakers["validation"] == {f"{number:02d}" for number in TEST_SPEAKERS[2]}


def test_speech_commands_rule() -> None:
    """The first speaker of the published validation list and of the test list, and one of neither."""
    assert share(HASHES[0]) < 0.1 <= share(HASHES[1]) < 0.2
    assert [min(int(share(speaker) * 5), 4) for speaker in HASHES] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@given(names=st.sets(st.text(min_size=1), min_size=5), fold=st.integers(0, 4))
def test_the_rule_of_the_folds(names: set[str], fold: int) -> None:
    splits = [split_of(group, fold) for group in dealt(names).values()]
    fifth = len(names) // FOLDS
    assert splits.count("test") in (fifth, fifth + 1)
    assert splits.count("validation") in (fifth, fifth + 1)
    assert [split_of(group, fold) for group in range(FOLDS)].count("train") == 3
    assert split_of((fold + 1) % FOLDS, fold) == "validation"
    assert split_of(fold, fold) == "test"


@pytest.mark.slow
def test_pairs_are_drawn_by_the_seed_and_speakers_are_not(written: Path) -> None:
    one, other = (
        spoken(written, speech="arabic", split="by-speaker", seed=seed, **PAIRS).splits() for seed in (1, 2)
    )
    for name in one:
        assert one[name]["id"][:] != other[name]["id"][:]
        assert one[name]["speaker"][:] == other[name]["speaker"][:]
        assert set(one[name]["writer"]) & set(other[name]["writer"])
        assert len(set(one[name]["id"])) == len(one[name])


def test_no_image_comes_twice_where_there_are_enough(written: Path) -> None:
    splits = spoken(written, speech="arabic", split="by-speaker", **PAIRS).splits()
    for split in splits.values():
        images = [identifier.rsplit("/", 1)[1] for identifier in split["id"]]
        assert len(images) == len(set(images))


BAD = {
    "fsdd": "recordings/seven.wav",
    "arabic": "dataset/seven/14_NO_1.wav",
    "audiomnist": "data/07/7_08_3.wav",
    "speech-commands": "seven/0137b3f4_take_0.wav",
}


@pytest.mark.slow
@pytest.mark.parametrize("speech", WRITERS)
def test_one_bad_file_does_not_stop_the_rest(tmp_path: Path, speech: str) -> None:
    WRITERS[speech](tmp_path)
    digits = spoken(tmp_path, speech=speech)
    before = len(digits.source.find(tmp_path)[0])
    assert digits.bad_files() == []
    (tmp_path / BAD[speech]).write_bytes(b"RIFF")
    (bad,) = digits.bad_files()
    assert bad.path == str(tmp_path / BAD[speech])
    assert ";" in bad.reason
    assert len(digits.source.find(tmp_path)[0]) == before


@pytest.mark.parametrize(
    ("speech", "name", "listed"),
    [
        ("arabic", "dataset/one/00000010_NO_01.wav", "test.csv"),
        ("speech-commands", f"one/{HASHES[1]}_nohash_0.wav", "testing_list.txt"),
    ],
)
def test_a_listed_file_that_is_missing_is_bad(tmp_path: Path, speech: str, name: str, listed: str) -> None:
    WRITERS[speech](tmp_path)
    (tmp_path / name).unlink()
    (bad,) = spoken(tmp_path, speech=speech).bad_files()
    assert (bad.path, bad.reason) == (str(tmp_path / name), f"is in {listed} and is missing; copy it again")


def test_lists_that_leave_out_a_file_or_are_missing(tmp_path: Path) -> None:
    write_arabic(tmp_path)
    write_mnist(tmp_path)
    lists = [tmp_path / name for name in ("train.csv", "val.csv", "test.csv")]
    lines = lists[0].read_text(encoding="utf-8").splitlines(keepends=True)
    lists[0].write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    (bad,) = spoken(tmp_path, speech="arabic").bad_files()
    assert "is in none of train.csv, val.csv, test.csv" in str(bad)
    assert spoken(tmp_path, speech="arabic", split="by-speaker").bad_files() == []
    semicolons = lists[1].read_text(encoding="utf-8").replace(",", ";").replace("\n", "\r\n")
    lists[1].write_text(semicolons, encoding="utf-8-sig")
    assert [str(error) for error in spoken(tmp_path, speech="arabic").bad_files()] == [str(bad)]
    lists[1].write_bytes(b"\xff\xfe")
    assert f"{lists[1]}: not a table with file and class" in str(spoken(tmp_path, speech="arabic").bad_files()[0])
    for path in lists:
        path.unlink()
    with pytest.raises(UserError, match=r"published split needs train.csv, .* set dataset.split to by-speaker"):
        spoken(tmp_path, speech="arabic", **PAIRS).splits()
    assert spoken(tmp_path, speech="arabic", split="by-speaker", **PAIRS).splits()


@pytest.mark.parametrize("speech", WRITERS)
def test_a_wrong_root_says_what_was_looked_for(tmp_path: Path, speech: str) -> None:
    with pytest.raises(UserError, match="recordings; looked for the folders") as caught:
        spoken(tmp_path, speech=speech).splits()
    assert f"{tmp_path / FOLDERS[speech]}/" in str(caught.value)
    with pytest.raises(UserError, match=f"needs copies of {SOURCES[speech].title} and MNIST: set dataset.root"):
        spoken(None, speech=speech).splits()


def test_writers_of_both_files_of_mnist(tmp_path: Path) -> None:
    write_fsdd(tmp_path, count=7)
    for part, labels, first in (("t10k", "test", 900), ("train", "train", 0)):
        write_mnist(tmp_path / "mnist", part)
        write_qmnist(tmp_path / "qmnist", labels, first=first)
    splits = spoken(tmp_path, split="by-speaker", **PAIRS).splits()
    writers = groups(splits, "writer")
    assert_apart(writers)
    for part in writers.values():
        assert len({int(writer) % 2100 >= 900 for writer in part}) == 2  # of both files
    series = {name: {int(writer) >= 2100 for writer in part} for name, part in writers.items()}
    assert set(map(len, series.values())) == {2}  # and of both series


def test_without_the_writers_a_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fsdd(tmp_path, count=7)
    write_mnist(tmp_path, count=200)
    known = spoken(tmp_path, split="by-speaker", picture_split="by-picture", **PAIRS).splits()
    assert capsys.readouterr().err == ""
    assert known["train"].column_names == ["audio", "visual", "label", "id", "speaker"]
    splits = spoken(tmp_path, split="by-speaker", **PAIRS).splits()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no qmnist-test-labels-idx2-int.gz of QMNIST, so a writer may be in several splits" in said[0]
    for name, split in splits.items():
        assert split["id"][:] == known[name]["id"][:]
        assert set(split["writer"]) == {"unknown"}


def test_labels_of_another_order_are_refused(tmp_path: Path) -> None:
    write_fsdd(tmp_path, count=7)
    write_mnist(tmp_path)
    write_qmnist(tmp_path)
    path = tmp_path / "qmnist-test-labels-idx2-int.gz"
    table = read_idx(path, 2, INTEGERS)
    path.write_bytes(gzip.compress(idx_bytes(table[::-1], INTEGERS)))
    with pytest.raises(UserError, match=r"qmnist-test.*: its labels are not those of MNIST's t10k file"):
        spoken(tmp_path).splits()
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((400, 8)))))
    with pytest.raises(UserError, match="not an idx file of 2-dimensional 32-bit integers"):
        spoken(tmp_path).splits()


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("speech", "task"),
    [("arabic", "select"), ("speech-commands", "match")],
)
def test_the_commands_read_other_collections(written: Path, tmp_path: Path, speech: str, task: str) -> None:
    options = {
        **{"root": written, "speech": speech, "split": "by-speaker", "fold": 2, "task": task},
        **PAIRS,
    }
    given = sets({**{f"dataset.{key}": value for key, value in options.items()}, "model.image_size": 16})
    checked = json.loads(scmrl("data", "check", "spoken-digits", *given, "--json").out)
    assert checked["bad"] == []
    shown = scmrl("data", "show", "spoken-digits", *given, "-o", tmp_path / "shown.png")
    assert shown.code == 0, shown.err
    assert (tmp_path / "shown.png").stat().st_size > 0
    ready = json.loads(scmrl("data", "prepare", "spoken-digits", *given, "--json").out)["splits"]
    assert sum(row["computed"] + row["before"] for row in ready.values()) == checked["n"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "arabic-digits").is_dir(), reason="no data here")
def test_real_speakers_and_writers_are_apart_in_every_fold() -> None:
    for fold in range(FOLDS):
        splits = spoken(REAL, speech="arabic", split="by-speaker", fold=fold, **PAIRS).splits()
        for column in ("speaker", "writer"):
            assert_apart(groups(splits, column))
        assert [len(set(split["speaker"])) for split in splits.values()] == [18, 6, 6]
        assert [len(split) for split in splits.values()] == [1800, 600, 600]
        assert all(58 <= len(set(splits[name]["writer"])) <= 60 for name in ("validation", "test"))
