"""The data set ``av-folder``: its settings, its classes, and the division of its samples into splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.av_folder.pairs import (
    Pair,
    composed,
    in_folders,
    in_table,
    separated,
)
from scmrl_plugins.plugins.datasets.bases.files import FileRecordings, FileRecordingsConfig
from scmrl_plugins.plugins.datasets.files.folders import root_folder, user_path
from scmrl_plugins.plugins.datasets.files.groups import connected, refuse_divided, refuse_taken
from scmrl_plugins.plugins.datasets.files.samples import Listing, Sample, first_bad
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.media.audio import common_rate
from scmrl_plugins.plugins.datasets.miniatures.av_folder import write_av_folder
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near


class AVFolder(FileRecordings):
    """A folder or a table of audio files with images or videos, in arbitrary classes.

    Folders: ``<split>/<class>/`` with files of one stem, or ``<split>/audio/<class>/`` and
    ``<split>/visual/<class>/``. A table (``manifest``: CSV, JSON lines or Parquet): the columns ``audio``,
    ``visual`` (paths from the table's folder) and ``label``, and optionally ``split`` and ``id``. A video may be
    sound and picture at once: alone of its stem in a folder, or in a column ``video`` of a table. Splits are named
    train, validation (valid, val, dev) and test (eval). Without a validation split, a share of the training
    samples is kept for it; without a test split, the share ``test`` if it is set. No file is in two splits, and no
    group of ``group_columns``. Classes are those in the files, sorted, unless ``classes`` names them; samples of
    other classes are bad.
    """

    class Config(FileRecordingsConfig):
        """Settings of ``av-folder``."""

        root: str | None = Field(None, description="folder with train/, test/ and optionally validation/")
        manifest: str | None = Field(
            None, description="table of the samples instead of root: .csv, .jsonl or .parquet"
        )
        classes: tuple[str, ...] = Field(
            (), strict=False, description="names of the classes; empty: as in the files"
        )
        validation: float = Field(
            0.1, gt=0, lt=1, description="share of the training samples for a missing validation split"
        )
        test: float | None = Field(
            None, gt=0, lt=1, description="share of the training samples for a missing test split"
        )

        group_columns: tuple[str, ...] = Field(
            (),
            strict=False,
            description="columns of the table that name groups, such as speakers: no group may be in two splits",
        )

        @field_validator("classes")
        @classmethod
        def _classes_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
            names = tuple(composed(name) for name in names)
            if names and (len({*names}) < len(names) or len(names) < 2 or "" in names):
                raise ValueError("expected two or more different classes, none of them empty")
            return names

        @field_validator("group_columns")
        @classmethod
        def _groups_are_columns_of_their_own(cls, names: tuple[str, ...]) -> tuple[str, ...]:
            return refuse_taken(names)

        @model_validator(mode="after")
        def _one_source(self) -> AVFolder.Config:
            if self.root and self.manifest:
                raise ValueError("root and manifest are both set: use only one of them")
            if self.root and self.clip and self.clip.columns:
                raise ValueError("clip names columns of a table, but root is set: set manifest instead")
            if self.root and self.group_columns:
                raise ValueError("group_columns are columns of a table, but root is set: set manifest instead")
            return self

    windows_in_table = True

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes, self.group_columns = config.classes, config.group_columns

    @classmethod
    def settle(cls, config: AVFolder.Config) -> AVFolder.Config:
        """The configuration with the classes and the sample rate; where it has none, those of the files."""
        if config.classes and (config.sample_rate or not (config.root or config.manifest)):
            return config
        bad: list[BadFileError] = []
        pairs = _pairs(config, bad)
        classes = config.classes or sorted({pair.label for pair in pairs})
        if len(classes) < 2:
            raise UserError(
                f"{config.root or config.manifest}: {len(classes)} classes of audio with images, but at least "
                f"two are required; add some, or name the classes in dataset.classes{first_bad(bad)}"
            )
        rate = config.sample_rate or common_rate([pair.audio for pair in pairs])
        return super().settle(config.model_copy(update={"classes": tuple(classes), "sample_rate": rate}))

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Three classes in folders of training and test, one of videos."""
        write_av_folder(folder)
        return {"root": str(folder), "validation": 0.25}

    def listing(self) -> Listing:
        """The samples of each split. Raises ``UserError`` if a split is missing and cannot be made."""
        bad: list[BadFileError] = []
        splits: dict[str, list[Pair]] = {"train": [], "validation": [], "test": []}
        for pair in separated(self._of_known_class(_pairs(self.config, bad), bad), bad):
            splits[pair.split].append(pair)
        for position, column in enumerate(self.group_columns):
            groups = {name: [pair.groups[position] for pair in pairs] for name, pairs in splits.items()}
            refuse_divided(self._source, column, groups)
        rng = np.random.default_rng(self.config.seed)
        for name, share in (("test", self.config.test), ("validation", self.config.validation)):
            if not splits[name]:
                splits["train"], splits[name] = self._carve(splits["train"], name, share, rng, bad)
            elif name == "test" and self.config.test:
                raise UserError(f"{self._source}: there is a test split already; remove dataset.test")
        return Listing({name: list(map(self._sample, pairs)) for name, pairs in splits.items()}, bad)

    @property
    def _source(self) -> str:
        return str(self.config.root or self.config.manifest)

    def _of_known_class(self, pairs: Sequence[Pair], bad: list[BadFileError]) -> list[Pair]:
        """The pairs whose class is one of ``classes``; the others are bad."""
        bad += [
            BadFileError(
                pair.audio,
                f"{pair.label!r} ({pair.source}) is not a class{near(pair.label, self.classes)}; "
                f"rename it, or add it to dataset.classes",
            )
            for pair in pairs
            if pair.label not in self.classes
        ]
        return [pair for pair in pairs if pair.label in self.classes]

    def _carve(
        self,
        pairs: list[Pair],
        name: str,
        share: float | None,
        rng: np.random.Generator,
        bad: Sequence[BadFileError],
    ) -> tuple[list[Pair], list[Pair]]:
        """All but a share of the training pairs, and that share as the split ``name``.

        No file and no group is in both.
        """
        if share is None:
            raise UserError(
                f"{self._source}: no test split; add one named test, or set dataset.test to the share of the "
                f"training samples to keep for it, such as 0.2{first_bad(bad)}"
            )
        labels = np.array([self.classes.index(pair.label) for pair in pairs], dtype=int)
        shared = [(*pair.files, *map(str, zip(self.group_columns, pair.groups, strict=True))) for pair in pairs]
        parts = grouped(labels, connected(shared), share, rng)
        if not all(len(part) for part in parts):
            raise UserError(
                f"{self._source}: {len(pairs)} training samples cannot spare any for the {name} split, as no "
                f"file or group may be in both; add samples, or a split of that name{first_bad(bad)}"
            )
        rest, taken = ([pairs[index] for index in part] for part in parts)
        return rest, taken

    def _sample(self, pair: Pair) -> Sample:
        label = self.classes.index(pair.label)
        return Sample(pair.audio, pair.visual, label, pair.id, pair.groups, pair.window)


def _pairs(config: AVFolder.Config, bad: list[BadFileError]) -> list[Pair]:
    """Every pair of files of the folder or the table, of whatever class."""
    if config.manifest:
        return in_table(user_path(config.manifest), bad, config.group_columns, config.clip)
    root = root_folder(
        config.root,
        needs="data set 'av-folder' needs your files: set dataset.root to a folder with train/CLASS/ and "
        "test/CLASS/, or dataset.manifest to a table with the columns audio, visual (or video) and label",
        holds="with train/CLASS/ and test/CLASS/, or dataset.manifest to a table of samples",
    )
    return in_folders(root, bad)
