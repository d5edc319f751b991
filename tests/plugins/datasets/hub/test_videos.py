"""Tables with a column of videos that have their own sound."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_data import build, columns, write

from scmrl_plugins.core.interfaces import MODALITIES, BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.hub import dataset as module
from scmrl_plugins.plugins.datasets.hub.dataset import Hub
from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip
from scmrl_plugins.registry import UserError

LABELS = ["a", "b"] * 2
CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four clips, not to be changed."""
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{number}.mp4", number) for number in range(4)]


def of_type_video(paths: list[Path]) -> tuple[list[Any], Any]:
    import datasets

    features = datasets.Features({"video": datasets.Video(), "label": datasets.Value("string")})
    return [{"bytes": path.read_bytes(), "path": None} for path in paths], features.arrow_schema


CELLS: dict[str, Callable[[list[Path]], tuple[list[Any], Any]]] = {
    "paths": lambda paths: ([str(path) for path in paths], None),
    "bytes": lambda paths: ([path.read_bytes() for path in paths], None),
    "bytes with a name": lambda paths: (
        [{"bytes": path.read_bytes(), "path": path.stem} for path in paths],
        None,
    ),
    "type Video": of_type_video,
}


def written(folder: Path, form: str, clips: list[Path]) -> str:
    cells, schema = CELLS[form](clips)
    for split in ("train", "test"):
        write(folder / "data" / f"{split}.parquet", {"video": cells, "label": LABELS}, schema)
    return str(folder / "data")


def arrays(dataset: Hub, row: dict[str, Any]) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        found = dataset.transform({key: [cell] for key, cell in row.items()})
    return {name: found[name][0] for name in MODALITIES}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", CELLS)
def test_a_video_is_sound_and_picture(form: str, streaming: bool, tmp_path: Path, clips: list[Path]) -> None:
    dataset = build(written(tmp_path, form, clips), validation=0.5, streaming=streaming, classes=CLASSES)
    assert (dataset.config.video_column, dataset.config.audio_column) == ("video", None)
    assert dataset.config.sample_rate == 16_000
    rows = list(dataset.splits()["test"])
    assert len(rows) == 4
    for row, path in zip(rows, clips, strict=True):
        cell = {"bytes": None, "path": str(path)}
        found, expected = arrays(dataset, row), arrays(dataset, {"audio": cell, "visual": cell})
        assert all(np.array_equal(found[name], expected[name]) for name in MODALITIES)
    assert dataset.inspect(rows[0]).seconds.keys() == {*MODALITIES}


def test_a_run_keeps_the_column_and_its_files_are_needed_no_more(tmp_path: Path, clips: list[Path]) -> None:
    config = build(written(tmp_path, "paths", clips)).config
    gone = config.model_copy(update={"path": str(tmp_path / "gone")})
    assert Hub.settle(gone) == gone


def test_a_video_without_sound_is_bad_by_its_row(tmp_path: Path, clips: list[Path]) -> None:
    silent = write_clip(tmp_path / "silent.mp4", 7, loud=0.0)
    cells = [path.read_bytes() for path in [silent, *clips[1:3]]]
    path = columns(tmp_path, video=[*cells, None], label=LABELS)
    dataset = build(path, validation=0.5)
    rows = list(dataset.splits()["test"])
    with pytest.raises(BadFileError, match=r"test/0/video\.mp4: .* nothing but silence"):
        arrays(dataset, rows[0])
    with pytest.raises(BadFileError, match=r"test/3: its cell of column 'video' is empty"):
        arrays(dataset, rows[3])


def test_an_address_is_fetched_once(tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(cell: Any, row: str, column: str, base: str) -> dict[str, Any]:
        asked.append(row)
        return {"bytes": clips[0].read_bytes(), "path": "https://host/0.mp4"}

    dataset = build(columns(tmp_path, video=["https://host/0.mp4"] * 4, label=LABELS), sample_rate=16_000)
    monkeypatch.setattr(module, "file_of", fetched)
    arrays(dataset, dataset.splits()["test"][0])
    assert asked == ["test/0"]


def test_which_column_is_of_videos_with_sound(tmp_path: Path) -> None:
    paths, sounds = ["a.mp4"] * 4, ["a.wav"] * 4
    options = {"sample_rate": 16_000, "validation": 0.5}
    both = build(columns(tmp_path / "1", video=paths, audio=sounds, label=LABELS), **options).config
    assert (both.audio_column, both.visual_column, both.video_column) == ("audio", "video", None)
    film = columns(tmp_path / "2", film=paths, label=LABELS)
    with pytest.raises(UserError, match=r"dataset\.audio_column, or dataset\.video_column if videos have"):
        build(film, **options)
    assert build(film, video_column="film", **options).config.columns["audio"] == "film"
    with pytest.raises(UserError, match=r"no column 'fim' .*: correct dataset\.video_column"):
        build(film, video_column="fim", **options)
    with pytest.raises(ValueError, match="video_column and 'x' are both set"):
        Hub.Config(video_column="film", visual_column="x")
    with pytest.raises(ValueError, match="'film' is named for two purposes"):
        Hub.Config(video_column="film", label_column="film")
