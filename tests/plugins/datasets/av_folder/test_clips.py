"""Videos with their own sound, in folders and in tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import clip

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.registry import UserError


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of videos to train and to test; not to be changed."""
    root = tmp_path_factory.mktemp("clips")
    data = clip(0.5)
    for split, count in (("train", 3), ("test", 1)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{split} {number}.mp4").write_bytes(data)
    return root


def dataset(**options: object) -> AVFolder:
    config = AVFolder.Config(validation=0.3, sample_rate=16_000, classes=("cat", "dog"), **options)
    return AVFolder(config, ModelConfig(steps=4, image_size=16))


def test_a_video_alone_is_sound_and_picture(clips: Path) -> None:
    made = dataset(root=str(clips))
    splits = made.splits()
    assert not made.bad_files()
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 4, "validation": 2, "test": 2}
    row = splits["test"][0]
    assert row["audio"] == row["visual"]
    assert Path(row["audio"]["path"]) == clips / "test" / "cat" / "test 0.mp4"
    stored = made.transform({name: [cell] for name, cell in row.items()})
    assert (stored["audio"][0].shape, stored["visual"][0].shape) == ((1, 16, 16), (1, 16, 16, 3))


def test_a_sound_beside_a_video_is_used(clips: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                for ending in (".mp4", ".m4a"):
                    (tmp_path / split / name / f"{split}{number}{ending}").write_bytes(b"x")
    for row in dataset(root=str(tmp_path)).splits()["train"]:
        assert [Path(row[name]["path"]).suffix for name in ("audio", "visual")] == [".m4a", ".mp4"]


def test_folders_of_sounds_may_hold_videos_and_a_missing_sound_stays_missing(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind, ending in (("audio", ".mp4"), ("visual", ".png")):
            for name in ("cat", "dog"):
                folder = tmp_path / split / kind / name
                folder.mkdir(parents=True)
                for number in range(3):
                    (folder / f"{number}{ending}").write_bytes(b"x")
    lone = tmp_path / "train" / "visual" / "cat" / "lone.mp4"
    lone.write_bytes(b"x")
    made = dataset(root=str(tmp_path))
    assert {Path(row["audio"]["path"]).suffix for row in made.splits()["train"]} == {".mp4"}
    assert [error.path for error in made.bad_files()] == [str(lone)]


def table(clips: Path, header: str, *rows: str) -> str:
    path = clips / "table.csv"
    path.write_text("\n".join([f"video,label,split,{header}", *rows]))
    return str(path)


def windows(clips: Path, first: str = "0.5,1.0") -> str:
    """Two windows of every video; those of the first one as given."""
    rows = []
    for path in sorted(clips.rglob("*.mp4")):
        split, name = path.parts[-3:-1]
        rows += [f"{path.relative_to(clips)},{name},{split},{cells}" for cells in ("0.5,1.0", "1.5,1.0")]
    rows[0] = f"{rows[0].removesuffix('0.5,1.0')}{first}"
    return table(clips, "from,lasts", *rows)


def test_a_table_names_videos_and_windows(clips: Path) -> None:
    made = dataset(manifest=windows(clips), clip={"start": "from", "seconds": "lasts"})
    splits = made.splits()
    assert not made.bad_files()
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 8, "validation": 4, "test": 4}
    assert {row["audio"]["path"].rpartition("#")[2] for row in splits["train"]} == {"t=0.5,1.5", "t=1.5,2.5"}
    assert len(set(splits["train"]["id"])) == 8
    first, second = (
        made.transform({name: [cell] for name, cell in row.items()})
        for row in sorted(splits["test"].select(range(2)), key=lambda row: row["id"])
    )
    # It beeps at 0.5 s: at the start of the first window, and not in the second.
    assert first["audio"][0].argmax() % 16 < 3
    assert not np.array_equal(first["audio"][0], second["audio"][0])


def test_a_table_to_classify_has_the_windows_of_training(clips: Path) -> None:
    path = windows(clips)
    made = dataset(manifest=path, clip={"start": "from", "seconds": "lasts"})
    trained = {row["audio"]["path"]: row for rows in made.splits().values() for row in rows}
    found = made.find(Path(path), [])
    assert len(found) == len(trained) == 16
    for one in found:
        row = made.part(one.audio, one.visual, one.window)
        assert {name: trained[row["audio"]["path"]][name] for name in ("audio", "visual")} == row
    # Those of data sets without windows have the columns start and seconds.
    plain = dataset(root=str(clips))
    assert {one.window for one in plain.find(Path(path), [])} == {None}
    assert plain.find(Path(table(clips, "start", "train/cat/train 0.mp4,,,1.5")), [])[0].window == (1.5, None)


def test_a_window_that_starts_at_the_same_time_in_every_row(clips: Path) -> None:
    rows = (f"{file.relative_to(clips)},cat,{file.parts[-3]},1.0" for file in clips.rglob("*.mp4"))
    path = table(clips, "lasts", *rows)
    fixed, cut = (dataset(manifest=path, clip={"start": start, "seconds": "lasts"}) for start in (0.5, 0.0))
    cell = fixed.splits()["test"][0]["audio"]
    assert cell["path"].endswith("#t=0.5,1.5")
    found = fixed.transform({"audio": [cell], "visual": [cell]})
    assert np.array_equal(found["audio"][0], cut.transform({"audio": [cell], "visual": [cell]})["audio"][0])


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (",1.0", "column 'from': is empty; write a number"),
        ("soon,1.0", "column 'from': 'soon' is no number"),
        ("-1,1.0", "column 'from': -1.0 is before the start"),
        ("0,nan", "column 'lasts': 'nan' is no number"),
        ("0,0", "column 'lasts': 0 s is no duration"),
    ],
)
def test_a_window_that_is_none_is_named(clips: Path, cells: str, reason: str) -> None:
    made = dataset(manifest=windows(clips, cells), clip={"start": "from", "seconds": "lasts"})
    (error,) = made.bad_files()
    assert f"line 2, {reason}" in str(error)


def test_a_row_has_a_video_or_two_files(clips: Path) -> None:
    video, other = "train/cat/train 0.mp4", "train/cat/train 1.mp4"
    path = table(
        clips, "audio,visual", f"{video},cat,train,{other},", f",cat,train,{video},{other}", ",dog,train,,"
    )
    made = dataset(manifest=path, test=0.3)
    with pytest.raises(UserError, match="cannot spare any"):
        made.splits()
    reasons = [str(error) for error in _bad(path)]
    assert len(reasons) == 2
    assert "line 2, column 'video': names a file, and so does column 'audio'" in reasons[0]
    assert "line 4, column 'audio': is empty" in reasons[1]


def _bad(path: str) -> list[Exception]:
    from scmrl_plugins.plugins.datasets.av_folder.pairs import in_table

    bad: list = []
    assert len(in_table(Path(path), bad)) == 1
    return bad


def test_a_column_of_windows_that_is_missing_is_named(clips: Path) -> None:
    with pytest.raises(UserError, match="no column 'begin'; there are 'video', 'label', 'split', 'from', 'lasts'"):
        dataset(manifest=windows(clips), clip={"start": "begin", "seconds": 1.0}).splits()


def test_a_users_video_is_both(clips: Path) -> None:
    made = dataset(root=str(clips))
    path = clips / "test" / "cat" / "test 0.mp4"
    mine = made.transform({name: [cell] for name, cell in made.read(path, path).items()})
    theirs = made.transform({name: [cell] for name, cell in made.splits()["test"][0].items()})
    for name in ("audio", "visual"):
        assert np.array_equal(mine[name][0], theirs[name][0])
