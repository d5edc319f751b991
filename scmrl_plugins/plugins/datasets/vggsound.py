"""VGGSound: sounds whose source is seen, from YouTube."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.bases.clips import ClipsConfig, ListedClips, list_file
from scmrl_plugins.plugins.datasets.files.clips import Clip, cut_name
from scmrl_plugins.plugins.datasets.files.folders import unreadable, user_path
from scmrl_plugins.plugins.datasets.files.tables import Row, read_list
from scmrl_plugins.plugins.datasets.miniatures.vggsound import write_vggsound
from scmrl_plugins.registry import UserError

CLASSES = 309
COLUMNS = ("id", "start", "label", "split")
_NAMED = re.compile(r"(?<![\w-])([\w-]{11})[_,]\s*(\d+)(?!\d)")


class VGGSound(ListedClips):
    """VGGSound (Chen et al. 2020, CC BY 4.0): 199,176 clips of 10 s from YouTube, 309 classes.

    ``vggsound.csv`` with ``id,start,label,train|test`` a row and no header (183,730 for training, 15,446 for the
    test), and clips ``<id>_<start, six digits>.mp4`` in any folder of the root. The classes are those of the list,
    sorted. A video may have several clips; by default all of them are in one split. ``music`` and ``still`` name
    lists of clips that are left out, such as those that VGGSounder marks as having music in the background or a
    still picture.
    """

    class Config(ClipsConfig):
        """Settings of ``vggsound``."""

        root: str | None = Field(None, description="folder with vggsound.csv and the clips")
        table: str | None = Field(None, description="the list of the clips; none: vggsound.csv in root")
        classes: tuple[str, ...] = Field(
            (), strict=False, description="names of the classes; empty: as in the list"
        )
        music: str | None = Field(
            None, description="text or CSV file of clips (ID_START a line) with music that is not seen: left out"
        )
        still: str | None = Field(None, description="likewise of clips with a still picture")

    unlisted = "is not in vggsound.csv; add it there, or remove it"

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes = config.classes

    @classmethod
    def settle(cls, config: VGGSound.Config) -> VGGSound.Config:
        """The configuration with the classes; where it has none, those of the list.

        Without a list they are numbered, so that the model can be built and measured without the data.
        """
        if not config.classes:
            dataset = cls(config, ModelConfig())
            labels = {f"class {number:03}" for number in range(1, CLASSES + 1)}
            if config.root or config.table:
                labels = {row.cells["label"].strip() for row in dataset._rows(bad=[])} - {""}
            config = config.model_copy(update={"classes": tuple(sorted(labels))})
        return super().settle(config)

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Three classes: six clips of four videos for training, and two for the test."""
        write_vggsound(folder)
        return {"root": str(folder), "validation": 0.3}

    @staticmethod
    def clip_name(stem: str) -> str | None:
        """Id and start."""
        return cut_name(stem)

    def listed(self, root: Path, bad: list[BadFileError]) -> tuple[list[Clip], set[str]]:
        """The rows of ``vggsound.csv`` that are in neither ``music`` nor ``still``."""
        clips: list[Clip] = []
        names: set[str] = set()
        for row in self._rows(bad):
            try:
                clips.append(self._clip(row, names))
            except BadFileError as error:
                bad.append(error)
        for setting, what in (("music", "music that is not seen"), ("still", "a still picture")):
            if path := {"music": self.config.music, "still": self.config.still}[setting]:
                marked = _marked(user_path(path), setting)
                bad += [
                    BadFileError(root / f"{clip.name}.mp4", f"has {what} by {marked[clip.name]}; it is left out")
                    for clip in clips
                    if clip.name in marked
                ]
                clips = [clip for clip in clips if clip.name not in marked]
        return clips, names

    def _rows(self, bad: list[BadFileError]) -> list[Row]:
        path = list_file(self.root(), self.config.table, "vggsound.csv", "table")
        return read_list(path, COLUMNS, ",", bad)

    def _clip(self, row: Row, names: set[str]) -> Clip:
        video, start, label, split = (row.cells[column].strip() for column in COLUMNS)
        name = cut_name(f"{video}_{start}")
        if not name:
            raise row.bad("id", f"{video!r} and {start!r} are not an id of 11 characters and a second; correct it")
        names.add(name)
        if split not in ("train", "test"):
            raise row.bad("split", f"{split!r} is neither train nor test; correct it")
        if label not in self._indices:
            raise row.bad("label", f"{label!r} is not in dataset.classes; add it there, or correct it")
        return Clip(name, self._indices[label], split, video, f"{row.table.name}, {row.position}")

    @functools.cached_property
    def _indices(self) -> Mapping[str, int]:
        return {name: index for index, name in enumerate(self.classes)}


def _marked(path: Path, setting: str) -> dict[str, str]:
    """The clips that a list names, ``ID_START`` or ``ID,START`` in a line, each with its line."""
    if reason := unreadable(path):
        raise UserError(f"{path}: {reason}; dataset.{setting} names it")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a list ({error}); save it as text in UTF-8") from error
    marked = {
        f"{match[1]}_{int(match[2]):06d}": f"{path.name}, line {number}"
        for number, line in enumerate(lines, 1)
        if (match := _NAMED.search(line))
    }
    if not marked:
        raise UserError(f"{path}: names no clip; write ID_START in a line, as -_0abc12345_000030")
    return marked
