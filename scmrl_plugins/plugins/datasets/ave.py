"""AVE: audio-visual events in clips of ten seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.bases.clips import ClipsConfig, ListedClips, list_file
from scmrl_plugins.plugins.datasets.files.clips import Clip
from scmrl_plugins.plugins.datasets.files.tables import Row, read_list
from scmrl_plugins.plugins.datasets.files.window import Window
from scmrl_plugins.plugins.datasets.miniatures.ave import write_ave
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

CLASSES = (
    "Accordion",
    "Acoustic guitar",
    "Baby cry, infant cry",
    "Banjo",
    "Bark",
    "Bus",
    "Cat",
    "Chainsaw",
    "Church bell",
    "Clock",
    "Female speech, woman speaking",
    "Fixed-wing aircraft, airplane",
    "Flute",
    "Frying (food)",
    "Goat",
    "Helicopter",
    "Horse",
    "Male speech, man speaking",
    "Mandolin",
    "Motorcycle",
    "Race car, auto racing",
    "Rodents, rats, mice",
    "Shofar",
    "Toilet flush",
    "Train horn",
    "Truck",
    "Ukulele",
    "Violin, fiddle",
)
COLUMNS = ("Category", "VideoID", "Quality", "StartTime", "EndTime")
LISTS = {"train": "trainSet.txt", "validation": "valSet.txt", "test": "testSet.txt"}
ANNOTATIONS = "Annotations.txt"
LENGTH = 10
"""Seconds of a clip."""
_INDEX = {
    part.lower(): index
    for index, name in enumerate(CLASSES)
    for part in (name, *name.split(", "), name.partition(" (")[0])
}


class AVE(ListedClips):
    """AVE (Tian et al. 2018): 4,143 rows of 4,097 clips of 10 s from YouTube, 28 classes of events.

    ``AVE/<id>.mp4``, ``Annotations.txt`` with ``Category&VideoID&Quality&StartTime&EndTime`` a row, and
    ``trainSet.txt``, ``valSet.txt`` and ``testSet.txt`` with the same columns (3,339, 402 and 402 rows). A clip
    has the class of its row; the complete clip is used, though the event may last for a part of it, which is used
    with ``dataset.clip = {start = "start", seconds = "seconds"}``. As published,
    46 rows repeat a clip, mostly with another class, and 18 clips for training are also in the test or validation
    split. By default each clip is in one split, once.
    """

    class Config(ClipsConfig):
        """Settings of ``ave``."""

        root: str | None = Field(None, description="folder with Annotations.txt, trainSet.txt, ... and AVE/")

    classes = CLASSES
    windows_in_table = True

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        columns = {*config.clip.columns} if config.clip else set()
        if other := sorted(columns - {"start", "seconds"}):
            raise UserError(
                f"dataset.clip: {other[0]!r} is no column of AVE; its events have 'start' and 'seconds'"
            )

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Four classes with two clips for training and one each for validation and test."""
        write_ave(folder)
        return {"root": str(folder)}

    @staticmethod
    def clip_name(stem: str) -> str:
        """The id of the video on YouTube, which is the complete name."""
        return stem

    def listed(self, root: Path, bad: list[BadFileError]) -> tuple[list[Clip], set[str]]:
        """The rows of the three lists. Rows of ``Annotations.txt`` that are in none of them are bad."""
        clips = []
        rows: set[tuple[str, str]] = set()
        for split, name in LISTS.items():
            for row in _rows(list_file(root, None, name, "root"), bad):
                rows.add(_key(row))
                try:
                    clips.append(self._clip(row, split))
                except BadFileError as error:
                    bad.append(error)
        path = list_file(root, None, ANNOTATIONS, "root")
        annotated = {_key(row): row for row in _rows(path, bad)}
        if not annotated:
            raise UserError(f"{path}: lists no clip; copy it again")
        bad += [
            BadFileError(path, f"{row.position}: the clip {key[1]} is in none of {', '.join(LISTS.values())}")
            for key, row in annotated.items()
            if key not in rows
        ]
        lacking = sorted(rows - {*annotated})
        bad += [
            BadFileError(path, f"has no row of the clip {clip} as {name!r}, which a split lists; copy it again")
            for name, clip in lacking
        ]
        return clips, {video for _, video in (*rows, *annotated)}

    def _clip(self, row: Row, split: str) -> Clip:
        category, video = _key(row)
        if category.lower() not in _INDEX:
            raise row.bad("Category", f"{category!r} is not a class of AVE{near(category, CLASSES)}; correct it")
        times = [row.cells[column].strip() for column in COLUMNS[3:]]
        if not all(time.isdigit() for time in times):
            raise row.bad("StartTime", f"{'&'.join(times)} are not two whole numbers of seconds; copy it again")
        start, end = map(int, times)
        if self.config.split == "by-video" and not start < end <= LENGTH:
            reason = f"the event of {video} lasts from {start} to {end} s of {LENGTH}; correct or remove the row"
            raise row.bad("EndTime", reason)
        source = f"{row.table.name}, {row.position}"
        return Clip(video, _INDEX[category.lower()], split, video, source, self._window(start, end))

    def _window(self, start: int, end: int) -> Window | None:
        """The part of a clip in which its event lasts, where ``dataset.clip`` says so."""
        clip = self.config.clip
        if not clip or not clip.columns:
            return None
        first = float(start if isinstance(clip.start, str) else clip.start)
        return Window(first, float(end) - first if isinstance(clip.seconds, str) else clip.seconds)


def _rows(path: Path, bad: list[BadFileError]) -> list[Row]:
    """The rows of a list without the heading, which only some copies have."""
    rows = read_list(path, COLUMNS, "&", bad)
    return rows[1:] if rows and rows[0].cells["VideoID"].strip().lower() == "videoid" else rows


def _key(row: Row) -> tuple[str, str]:
    """The category and the id of the video of a row."""
    return row.cells["Category"].strip(), row.cells["VideoID"].strip()
