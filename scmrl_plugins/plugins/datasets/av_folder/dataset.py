"""Anybody's sounds and pictures: folders of classes, or a table that lists them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.bases.recordings import Clips, ClipsConfig
from scmrl_plugins.plugins.datasets.files.folders import (
    PICTURES,
    SOUNDS,
    VIDEOS,
    Listing,
    Sample,
    at_home,
    files_in,
    first_of,
    folders_in,
    is_folder,
    pair_by_stem,
    unreadable,
)
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.files.tables import Row, read_table
from scmrl_plugins.plugins.datasets.miniatures.av_folder import write_av_folder
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
"""What a split may be called, in any case."""


@dataclass(frozen=True)
class Found:
    """A pair of files, the split it is in, the name of its class, its id, and where it is listed."""

    audio: Path
    visual: Path
    split: str
    label: str
    id: str
    source: str


class AVFolder(Clips):
    """A folder, or a table, of sounds and their pictures or videos, in classes of any names.

    Folders: ``<split>/<class>/`` with files of one stem, or ``<split>/audio/<class>/`` and
    ``<split>/visual/<class>/``. A table (``manifest``: CSV, JSON lines or Parquet): the columns ``audio``,
    ``visual`` (paths from the table's folder) and ``label``, and if need be ``split`` and ``id``. Splits are named
    train, validation (valid, val, dev) and test (eval). Where there is no validation split, a share of the
    training samples is kept for it; where there is no test split, only if ``test`` says how large a share. No file
    is in two splits. Classes are those found, sorted, unless ``classes`` names them; samples of others are bad.
    """

    class Config(ClipsConfig):
        """Settings of ``av-folder``."""

        root: str | None = Field(None, description="folder with train/, test/ and, if need be, validation/")
        manifest: str | None = Field(
            None, description="instead of root: table of the samples, .csv, .jsonl or .parquet"
        )
        classes: tuple[str, ...] = Field((), strict=False, description="names of the classes; empty: those found")
        validation: float = Field(
            0.1, gt=0, lt=1, description="share of the training samples for validation where no split is for it"
        )
        test: float | None = Field(
            None, gt=0, lt=1, description="share of the training samples for a test where no split is for it"
        )

        @field_validator("classes")
        @classmethod
        def _classes_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
            names = tuple(_composed(name) for name in names)
            if names and (len({*names}) < len(names) or len(names) < 2 or "" in names):
                raise ValueError("write two classes or more, none of them empty or twice")
            return names

        @model_validator(mode="after")
        def _one_source(self) -> AVFolder.Config:
            if self.root and self.manifest:
                raise ValueError("root and manifest are both set: samples come from one of them; leave one out")
            return self

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes = config.classes

    @classmethod
    def settle(cls, config: AVFolder.Config) -> AVFolder.Config:
        """The configuration with the names of the classes, looked up where it has none."""
        if config.classes:
            return config
        bad: list[BadFileError] = []
        found = sorted({sample.label for sample in _find(config, bad)})
        if len(found) < 2:
            raise UserError(
                f"{config.root or config.manifest}: {len(found)} classes of sounds with pictures, and two are the "
                f"least; add some, or name the classes in dataset.classes{first_of(bad)}"
            )
        return config.model_copy(update={"classes": tuple(found)})

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Three classes in folders of training and test, one of videos."""
        write_av_folder(folder)
        return {"root": str(folder), "validation": 0.25}

    def listing(self) -> Listing:
        """The samples of each split. Raises ``UserError`` where a split is missing and cannot be made."""
        bad: list[BadFileError] = []
        found = _apart(self._known(_find(self.config, bad), bad), bad)
        splits: dict[str, list[Found]] = {"train": [], "validation": [], "test": []}
        for one in found:
            splits[one.split].append(one)
        rng = np.random.default_rng(self.config.seed)
        for name in ("test", "validation"):
            if not splits[name]:
                splits["train"], splits[name] = self._carve(splits["train"], name, rng, bad)
            elif name == "test" and self.config.test:
                raise UserError(
                    f"{self._source}: there is a test split, and dataset.test would make another; leave it out"
                )
        return Listing({name: self._samples(part) for name, part in splits.items()}, bad)

    @property
    def _source(self) -> str:
        return str(self.config.root or self.config.manifest)

    def _known(self, found: Sequence[Found], bad: list[BadFileError]) -> list[Found]:
        """The samples whose class is one of ``classes``; the others are bad."""
        bad += [
            BadFileError(
                one.audio,
                f"{one.label!r} ({one.source}) is no class{near(one.label, self.classes)}; "
                f"rename it, or add it to dataset.classes",
            )
            for one in found
            if one.label not in self.classes
        ]
        return [one for one in found if one.label in self.classes]

    def _carve(
        self, samples: list[Found], name: str, rng: np.random.Generator, bad: Sequence[BadFileError]
    ) -> tuple[list[Found], list[Found]]:
        """All but a share of the training samples, and that share as the split ``name``; files are kept apart."""
        share = getattr(self.config, name)
        if share is None:
            raise UserError(
                f"{self._source}: no test split; add one named test, or set dataset.test to the share of the "
                f"training samples to keep for it, such as 0.2{first_of(bad)}"
            )
        labels = np.array([self.classes.index(one.label) for one in samples], dtype=int)
        parts = grouped(labels, _joined([_files(one) for one in samples]), share, rng)
        if not all(len(part) for part in parts):
            raise UserError(
                f"{self._source}: {len(samples)} training samples cannot spare any for the {name} split, as no "
                f"file may be in both; add samples, or a split of that name{first_of(bad)}"
            )
        rest, taken = ([samples[place] for place in part] for part in parts)
        return rest, taken

    def _samples(self, found: Sequence[Found]) -> list[Sample]:
        return [Sample(one.audio, one.visual, self.classes.index(one.label), one.id) for one in found]


def _find(config: AVFolder.Config, bad: list[BadFileError]) -> list[Found]:
    """Every pair of files that is there, of whatever class."""
    if config.manifest:
        return _in_table(at_home(config.manifest), bad)
    if not config.root:
        raise UserError(
            "data set 'av-folder' needs files of yours: set dataset.root to a folder with train/CLASS/ and "
            "test/CLASS/, or dataset.manifest to a table with the columns audio, visual and label"
        )
    root = at_home(config.root)
    if not is_folder(root):
        raise UserError(f"{root}: not a folder; set dataset.root to the one with train/CLASS/ and test/CLASS/")
    return _in_folders(root, bad)


def _in_folders(root: Path, bad: list[BadFileError]) -> list[Found]:
    folders: dict[str, Path] = {}
    for folder in folders_in(root, bad):
        if not (split := SPLITS.get(folder.name.lower())):
            bad.append(BadFileError(folder, f"{_no_split(folder.name)}; rename it or move it away"))
        elif split in folders:
            raise UserError(f"{folder}: {folders[split].name} is the {split} split already; keep one of the two")
        else:
            folders[split] = folder
    if "train" not in folders:
        raise UserError(f"{root}: no folder train; set dataset.root to the one with train/CLASS/ and test/CLASS/")
    return [one for split, folder in folders.items() for one in _in_split(folder, split, bad)]


def _in_split(folder: Path, split: str, bad: list[BadFileError]) -> list[Found]:
    """The pairs of a split, with sounds and pictures together or in folders of their own."""
    places = (folder / "audio", folder / "visual")
    if all(is_folder(place) for place in places):
        beside = [path for path in folders_in(folder, bad) if path not in places]
        bad += [BadFileError(path, "is beside audio and visual; divide it between them") for path in beside]
    else:
        places = (folder, folder)
    media = SOUNDS | PICTURES | VIDEOS
    stray = [path for place in dict.fromkeys((folder, *places)) for path in files_in(place, media, bad)]
    bad += [BadFileError(path, "is in no class's folder; move it to one") for path in stray]
    found = []
    for name in sorted({path.name for place in dict.fromkeys(places) for path in folders_in(place, bad)}):
        homes = (places[0] / name, places[1] / name)
        sounds, pictures = (
            files_in(home, endings, bad) if is_folder(home) else []
            for home, endings in zip(homes, (SOUNDS, PICTURES | VIDEOS), strict=True)
        )
        for stem, sound, picture in pair_by_stem(sounds, pictures, bad, homes):
            identity = f"{split}/{name}/{stem}"
            found.append(Found(sound, picture, split, _composed(name), identity, f"folder {homes[0]}"))
        deeper = [path for home in dict.fromkeys(homes) if is_folder(home) for path in folders_in(home, bad)]
        bad += [
            BadFileError(path, "is a folder in a class's folder; move its files up")
            for path in deeper
            if path.suffix.lower() not in media  # which files_in took for a file
        ]
    return found


def _in_table(path: Path, bad: list[BadFileError]) -> list[Found]:
    rows = read_table(path, ("audio", "visual", "label"), ("split", "id"), bad)
    divided = any("split" in row.cells for row in rows)
    found: dict[str, Found] = {}
    for row in rows:
        try:
            one = _in_row(row, divided)
            if other := found.get(one.id):
                raise row.bad("id", f"{one.id!r} is that of {other.source} too; give each row one of its own")
            found[one.id] = one
        except BadFileError as error:
            bad.append(error)
    return list(found.values())


def _in_row(row: Row, divided: bool) -> Found:
    source = f"{row.place} of {row.table.name}"
    split = "train"
    if divided:
        name = row.text("split").strip()
        split = SPLITS.get(name.lower(), "")
        if not split:
            raise row.bad("split", f"{_no_split(name)}; write one of {', '.join(SPLITS)}")
    label = _composed(row.text("label", number=True).strip())
    if not label:
        raise row.bad("label", "is blank; write the name of a class")
    files = [_named(row, column, source) for column in ("audio", "visual")]
    name = f"{row.text('audio')} {row.text('visual')}"
    if row.cells.get("id") not in (None, ""):
        name = row.text("id", number=True)
    return Found(files[0], files[1], split, label, name, source)


def _named(row: Row, column: str, source: str) -> Path:
    """The file of a cell; its name may be composed otherwise on disk than in the table, as a Mac's are."""
    text = row.text(column)
    for form in (text, _composed(text), unicodedata.normalize("NFD", text)):
        if not unreadable(path := row.table.parent / form):
            return path
    path = row.table.parent / text
    raise BadFileError(path, f"{source}, column {column!r}: {unreadable(path)}")


def _no_split(name: str) -> str:
    return f"{name!r} is no split{near(name, SPLITS)}"


def _apart(found: Sequence[Found], bad: list[BadFileError]) -> list[Found]:
    """The samples without those that have a file of another split; the test keeps its own first."""
    owner: dict[str, Found] = {}
    kept = []
    for one in sorted(found, key=lambda one: ("test", "validation", "train").index(one.split)):
        files = _files(one)
        other = next((owner[file] for file in files if file in owner and owner[file].split != one.split), None)
        if other:
            reason = f"is in the {one.split} split ({one.source}), and one of its files in the {other.split} split"
            bad.append(BadFileError(one.audio, f"{reason} ({other.source}) too; remove one of the two"))
        else:
            owner.update(dict.fromkeys(files, one))
            kept.append(one)
    return kept


def _files(one: Found) -> tuple[str, str]:
    return os.path.realpath(one.audio), os.path.realpath(one.visual)


def _joined(keys: Sequence[Sequence[str]]) -> np.ndarray:
    """A number for each item, the same for items that a chain of common keys joins."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    pairs = [(place, numbers.setdefault(key, len(numbers))) for place, own in enumerate(keys) for key in own]
    items, held = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    size = len(keys) + len(numbers)
    graph = coo_array((np.ones(len(pairs)), (items, held + len(keys))), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(keys)]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
