"""UrbanSound8K-AV: sounds of the city, each with a picture of what makes it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.bases.files import FileRecordings, PhotographsConfig
from scmrl_plugins.plugins.datasets.files.folders import (
    PICTURES,
    SOUNDS,
    files_in,
    folders_in,
    is_folder,
    unreadable,
    user_path,
)
from scmrl_plugins.plugins.datasets.files.samples import Listing, Sample, checked_listing, pair_by_stem
from scmrl_plugins.plugins.datasets.files.splits import grouped, in_order
from scmrl_plugins.plugins.datasets.files.tables import read_table
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_urbansound8k_av
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

CLASSES = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)
FOLDERS = ("Dataset_v3_sound", "Dataset_v3_vision")
METADATA = ("UrbanSound8K.csv", "metadata/UrbanSound8K.csv")
CLASS_COLUMNS = ("class", "class_name")
"""The column of the class; the second is its name in older copies."""
TEST = 0.3
_SLICE = re.compile(r"(\d+)-\d+-\d+-\d+")


class UrbanSound8KAV(FileRecordings):
    """UrbanSound8K-AV from ``Dataset_v3_sound/<class>/<name>.wav`` and ``Dataset_v3_vision/<class>/<name>.jpg``.

    UrbanSound8K (Salamon et al. 2014, CC BY-NC) cuts many slices of at most 4 s out of one Freesound recording,
    ``<fsID>-<classID>-<occurrence>-<slice>.wav``; slices of one recording are near duplicates. The
    published protocol trains on 70 % of the slices of each class and tests on 30 %, in the order of their names
    or drawn at random, and reports the best test epoch. It tests slices of recordings that it trains on: of nearly
    every recording where they are drawn at random, of those cut in two where they are in order. Here, by default,
    no recording is in two splits.
    """

    class Config(PhotographsConfig):
        """Settings of ``urbansound8k-av``."""

        root: str | None = Field(None, description="folder with Dataset_v3_sound and Dataset_v3_vision")
        split: Literal["by-recording", "sorted", "random", "folds"] = Field(
            "by-recording",
            description="by-recording: about 30 % of each class for the test, no recording in two splits; sorted "
            "(published): the last 30 % by name; random (published): 30 % at random; folds: UrbanSound8K's own",
        )
        test_fold: int = Field(10, ge=1, le=10, description="fold of the test split (folds)")
        validation_fold: int = Field(9, ge=1, le=10, description="fold of the validation split (folds)")
        metadata: str | None = Field(
            None, description="UrbanSound8K.csv (folds); none: the one in root or root/metadata"
        )

        @model_validator(mode="after")
        def _folds_are_two(self) -> UrbanSound8KAV.Config:
            if self.test_fold == self.validation_fold:
                raise ValueError(f"test_fold and validation_fold are both {self.test_fold}; choose two folds")
            return self

    classes = CLASSES

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Four recordings of two slices in each class, with the metadata."""
        write_urbansound8k_av(folder, CLASSES)
        return {"root": str(folder), "validation": 0.3}

    def listing(self) -> Listing:
        """The samples of each split; ``UserError`` for one that would be empty."""
        root = self.root()
        bad: list[BadFileError] = []
        samples = self._samples(root, bad)
        if self.config.split == "folds":
            splits = self._by_fold(root, samples, bad)
        else:
            if self.config.split == "by-recording":
                samples = _named_as_slices(samples, bad)
            rng = np.random.default_rng(self.config.seed)
            rest, test = self._divide(samples, TEST, rng)
            train, validation = self._divide(rest, self.config.validation, rng)
            splits = {"train": train, "validation": validation, "test": test}
        return checked_listing(root, splits, bad, f"{len(samples)} samples")

    def _samples(self, root: Path, bad: list[BadFileError]) -> list[Sample]:
        """All pairs, class after class, in the order of their names."""
        parents = [root / folder for folder in FOLDERS]
        for parent in parents:
            if not is_folder(parent):
                raise UserError(
                    f"{parent}: no such folder; set dataset.root to the one that holds {' and '.join(FOLDERS)}"
                )
            missing = [parent / name for name in CLASSES if not is_folder(parent / name)]
            bad += [
                BadFileError(folder, "no such folder, of one of the ten classes; copy it") for folder in missing
            ]
        stray = [path for parent in parents for path in files_in(parent, SOUNDS | PICTURES, bad)]
        bad += [BadFileError(path, "is in no class's folder; move it to one") for path in stray]
        unknown = sorted({path.name for parent in parents for path in folders_in(parent, bad)} - {*CLASSES})
        samples = []
        for name in (*CLASSES, *unknown):
            folders = [parent / name for parent in parents]
            sounds, pictures = (
                files_in(folder, endings, bad) if is_folder(folder) else []
                for folder, endings in zip(folders, (SOUNDS, PICTURES), strict=True)
            )
            for stem, sound, picture in pair_by_stem(sounds, pictures, bad, (folders[0], folders[1])):
                if name in CLASSES:
                    samples.append(Sample(sound, picture, CLASSES.index(name), f"{name}/{stem}"))
                else:
                    reason = f"{name!r} is not a class of UrbanSound8K{near(name, CLASSES)}; rename or move it"
                    bad.append(BadFileError(sound, reason))
        return samples

    def _divide(
        self, samples: list[Sample], share: float, rng: np.random.Generator
    ) -> tuple[list[Sample], list[Sample]]:
        """All but a share of every class, and that share."""
        labels = np.array([sample.label for sample in samples], dtype=int)
        if self.config.split == "sorted":
            parts = in_order(labels, share)
        else:
            random = self.config.split == "random"
            groups = [sample.id if random else _recording(sample) for sample in samples]
            parts = grouped(labels, np.array(groups), share, rng)
        rest, taken = ([samples[index] for index in part] for part in parts)
        return rest, taken

    def _by_fold(self, root: Path, samples: list[Sample], bad: list[BadFileError]) -> dict[str, list[Sample]]:
        path = self._metadata(root)
        rows: dict[str, tuple[int, str]] = {}
        for row in read_table(path, ("slice_file_name", "fold"), CLASS_COLUMNS, bad):
            column = next((name for name in CLASS_COLUMNS if name in row.cells), None)
            if column is None:
                raise UserError(f"{path}: no column {' or '.join(map(repr, CLASS_COLUMNS))}; copy the file again")
            number = row.text("fold", number=True)
            if number not in map(str, range(1, 11)):
                raise row.bad("fold", f"{number!r} is not one of 1 to 10; copy the file again")
            stem = Path(row.text("slice_file_name")).stem
            entry = (int(number), row.text(column))
            if rows.setdefault(unicodedata.normalize("NFC", stem), entry) != entry:
                raise row.bad("slice_file_name", f"{stem!r} is in two folds or classes; copy the file again")
        splits: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
        names = {self.config.validation_fold: "validation", self.config.test_fold: "test"}
        for sample in samples:
            name, _, stem = sample.id.partition("/")
            if stem not in rows:
                bad.append(BadFileError(sample.audio, f"is not in {path}, so of no fold; add or remove it"))
                continue
            fold, listed_class = rows[stem]
            if listed_class != name:
                bad.append(BadFileError(sample.audio, f"is {listed_class!r} in {path}; move it to that folder"))
                continue
            splits[names.get(fold, "train")].append(sample)
        return splits

    def _metadata(self, root: Path) -> Path:
        if self.config.metadata:
            return user_path(self.config.metadata)
        for name in METADATA:
            if not unreadable(root / name):
                return root / name
        raise UserError(
            f"{root}: no {' or '.join(METADATA)}, which tells the folds; copy it from UrbanSound8K, or name it in "
            f"dataset.metadata"
        )


def _recording(sample: Sample) -> str | None:
    """The Freesound recording that a slice was cut from."""
    match = _SLICE.fullmatch(sample.audio.stem)
    return match[1] if match else None


def _named_as_slices(samples: list[Sample], bad: list[BadFileError]) -> list[Sample]:
    """The samples whose names tell the recording; others are bad. ``UserError`` if all are bad."""
    named = [sample for sample in samples if _recording(sample)]
    reason = "not named <fsID>-<classID>-<occurrence>-<slice>, which tells the recording it was cut from"
    if samples and not named:
        raise UserError(
            f"{samples[0].audio}: {reason}, nor is any other file; give them UrbanSound8K's names, or set "
            f"dataset.split to 'sorted' or 'random', where parts of one recording may be trained and tested on"
        )
    bad += [BadFileError(sample.audio, f"{reason}; rename it") for sample in samples if _recording(sample) is None]
    return named
