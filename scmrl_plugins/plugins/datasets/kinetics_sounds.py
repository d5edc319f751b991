"""Kinetics-Sounds: actions of Kinetics that are seen and heard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.bases.clips import ClipsConfig, ListedClips, list_file
from scmrl_plugins.plugins.datasets.files.clips import Clip, cut_name, media_below
from scmrl_plugins.plugins.datasets.files.folders import is_folder, unreadable
from scmrl_plugins.plugins.datasets.miniatures.kinetics_sounds import write_kinetics_sounds
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

INSTRUMENTS = (
    *("accordion", "bagpipes", "bass_guitar", "clarinet", "drums", "guitar", "harmonica", "keyboard"),
    *("organ", "piano", "saxophone", "trombone", "trumpet", "violin", "xylophone"),
)
_COMMON = (
    *("blowing_nose", "bowling", "chopping_wood", "laughing", *(f"playing_{name}" for name in INSTRUMENTS)),
    *("ripping_paper", "shoveling_snow", "shuffling_cards", "singing", "tap_dancing", "tapping_guitar"),
    *("tapping_pen", "tickling"),
)
_31 = (*_COMMON, "blowing_out_candles", "dribbling_basketball", "mowing_lawn", "stomping_grapes")
_RENAMED = ("blowing_out", "dribbling_ball", "mowing_the_lawn_by_pushing_lawnmower", "stomping")
"""Four of the 31 in the names of the first paper, whose other three are no longer in Kinetics."""
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "31": tuple(sorted(_31)),
    "33": tuple(sorted((*_31, "finger_snapping", "tying_tie"))),
    "34": tuple(sorted((*_COMMON, *_RENAMED, "fingerpicking", "patting", "typing"))),
}
"""Classes in the order of their labels."""
LISTS = {"train": "my_train.txt", "test": "my_test.txt"}
FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


class KineticsSounds(ListedClips):
    """Kinetics-Sounds (Arandjelovic and Zisserman 2017): clips of 10 s from Kinetics in 31, 33 or 34 classes.

    Lists as OGM-GE's: ``my_train.txt`` with ``<id>_<start>_<end>,10,<label>`` a row and ``my_test.txt`` with
    ``<id>_<start>,10,<label>`` (14,799 and 2,597 rows, 31 classes), whose labels are indices or names of classes.
    Or, without lists, the folders ``{train,val,test}/<class>/``. Clips are ``<id>_<start>_<end>.mp4`` in any
    folder of the root; those that no list names are not used. The 34 classes are those of the first paper, of
    which Kinetics-400 has 31. Accuracies on 31, 33 and 34 classes are not comparable.
    """

    class Config(ClipsConfig):
        """Settings of ``kinetics-sounds``."""

        root: str | None = Field(None, description="folder with the clips, and with my_train.txt and my_test.txt")
        variant: Literal["31", "33", "34"] = Field(
            "31", description="number of classes; accuracies of different variants are not comparable"
        )
        train_list: str | None = Field(None, description="list for training; none: my_train.txt in root")
        test_list: str | None = Field(None, description="list for the test; none: my_test.txt in root")

    classes = VARIANTS["31"]
    unlisted = None

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes = VARIANTS[config.variant]

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Three classes with the lists: five clips for training and one for the test."""
        write_kinetics_sounds(folder)
        return {"root": str(folder), "validation": 0.3}

    @staticmethod
    def clip_name(stem: str) -> str | None:
        """Id and start."""
        return cut_name(stem)

    def listed(self, root: Path, bad: list[BadFileError]) -> tuple[list[Clip], set[str]]:
        """The rows of both lists, or the clips in folders of splits and classes."""
        given = {"train": self.config.train_list, "test": self.config.test_list}
        lists = [given[split] for split in LISTS] + [not unreadable(root / name) for name in LISTS.values()]
        if any(lists) or not is_folder(root / "train"):
            clips = [
                clip
                for split, name in LISTS.items()
                for clip in self._in_list(list_file(root, given[split], name, f"{split}_list"), split, bad)
            ]
        else:
            clips = list(self._in_folders(root, bad))
        return clips, {clip.name for clip in clips}

    def _in_list(self, path: Path, split: str, bad: list[BadFileError]) -> Iterator[Clip]:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a list ({error}); save it as text in UTF-8") from error
        for number, line in enumerate(lines, 1):
            cells = [cell for cell in re.split(r"[,\s]+", line.strip()) if cell]
            if not cells:
                continue
            name = cut_name(cells[0].removesuffix(".mp4"))
            if len(cells) < 2 or not name:
                reason = "is not ID_START_END,10,LABEL, as in -_0abc12345_000010_000020,10,7; correct it"
                bad.append(BadFileError(path, f"line {number}: {line[:60]!r} {reason}"))
            elif (label := self._label(cells[-1])) is None:
                reason = f"{self._no_class(cells[-1])}; correct it, or set dataset.variant"
                bad.append(BadFileError(path, f"line {number}: {reason}"))
            else:
                yield Clip(name, label, split, name[:11], f"{path.name}, line {number}")

    def _in_folders(self, root: Path, bad: list[BadFileError]) -> Iterator[Clip]:
        for split, names in FOLDERS.items():
            for folder in (root / name for name in names if is_folder(root / name)):
                for name, media in media_below(folder, cut_name, bad).items():
                    parent = media.visual.parent
                    if (label := self._label(parent.name)) is not None:
                        yield Clip(name, label, split, name[:11], f"folder {parent}")
                    else:
                        reason = f"is in {parent.name}, {self._no_class(parent.name)}; move it"
                        bad.append(BadFileError(media.visual, reason))

    def _label(self, text: str) -> int | None:
        """The index of a class from its index or its name, with blanks or underscores."""
        if text.isascii() and text.isdigit():
            return int(text) if int(text) < len(self.classes) else None
        name = re.sub(r"\s+", "_", text.strip().lower())
        return self.classes.index(name) if name in self.classes else None

    def _no_class(self, text: str) -> str:
        return f"{text!r} is not one of the {len(self.classes)} classes{near(text, self.classes)}"
