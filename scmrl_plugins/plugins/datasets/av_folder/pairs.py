"""Pairs of files in folders of classes and in tables, and no file in two splits."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import (
    PICTURES,
    SOUNDS,
    VIDEOS,
    files_in,
    folders_in,
    is_folder,
)
from scmrl_plugins.plugins.datasets.files.samples import pair_by_stem
from scmrl_plugins.plugins.datasets.files.tables import Row, read_table
from scmrl_plugins.plugins.datasets.files.window import Window, window_of
from scmrl_plugins.plugins.datasets.media.clip import ClipConfig
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

SPLIT_NAMES = {
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
"""Names of splits, in upper or lower case."""


@dataclass(frozen=True)
class Pair:
    """A sound and its picture, their split, the name of their class, a unique id, where they are listed, the
    values of the group columns, and the part of the files that is used.
    """

    audio: Path
    visual: Path
    split: str
    label: str
    id: str
    source: str
    groups: tuple[str, ...] = ()
    window: Window | None = None

    @property
    def files(self) -> tuple[str, str]:
        """Both files, with links resolved."""
        return os.path.realpath(self.audio), os.path.realpath(self.visual)


def in_folders(root: Path, bad: list[BadFileError]) -> list[Pair]:
    """The pairs in ``<split>/<class>/``, or in ``<split>/{audio,visual}/<class>/``, below a folder."""
    folders: dict[str, Path] = {}
    for folder in folders_in(root, bad):
        if not (split := SPLIT_NAMES.get(folder.name.lower())):
            bad.append(BadFileError(folder, f"{_no_split(folder.name)}; rename it or move it away"))
        elif split in folders:
            raise UserError(f"{folder}: {folders[split].name} is the {split} split already; keep one of the two")
        else:
            folders[split] = folder
    if "train" not in folders:
        raise UserError(f"{root}: no folder train; set dataset.root to the one with train/CLASS/ and test/CLASS/")
    return [pair for split, folder in folders.items() for pair in _in_split(folder, split, bad)]


def _in_split(folder: Path, split: str, bad: list[BadFileError]) -> list[Pair]:
    """The pairs of a split, with sounds and pictures together or apart in ``audio`` and ``visual``."""
    parents = (folder / "audio", folder / "visual")
    heard = SOUNDS
    if all(map(is_folder, parents)):
        beside = [path for path in folders_in(folder, bad) if path not in parents]
        heard |= VIDEOS  # of which only the sound is used
        bad += [BadFileError(path, "is beside audio and visual; divide it between them") for path in beside]
    else:
        parents = (folder, folder)
    media = SOUNDS | PICTURES | VIDEOS
    stray = [path for parent in dict.fromkeys((folder, *parents)) for path in files_in(parent, media, bad)]
    bad += [BadFileError(path, "is in no class's folder; move it to one") for path in stray]
    pairs = []
    for name in sorted({path.name for parent in dict.fromkeys(parents) for path in folders_in(parent, bad)}):
        class_folders = (parents[0] / name, parents[1] / name)
        sounds, pictures = (
            files_in(inner, endings, bad) if is_folder(inner) else []
            for inner, endings in zip(class_folders, (heard, PICTURES | VIDEOS), strict=True)
        )
        together = class_folders[0] == class_folders[1]
        for stem, sound, picture in pair_by_stem(sounds, pictures, bad, class_folders, videos=together):
            source = f"folder {class_folders[0]}"
            pairs.append(Pair(sound, picture, split, composed(name), f"{split}/{name}/{stem}", source))
        existing = filter(is_folder, dict.fromkeys(class_folders))
        deeper = [path for inner in existing for path in folders_in(inner, bad)]
        bad += [
            BadFileError(path, "is a folder in a class's folder; move its files up")
            for path in deeper
            if path.suffix.lower() not in media  # which files_in reported
        ]
    return pairs


def in_table(
    path: Path, bad: list[BadFileError], group_columns: Sequence[str] = (), clip: ClipConfig | None = None
) -> list[Pair]:
    """The pairs in the rows of a table; all are training samples where it has no column ``split``.

    A column ``video`` names files with both sound and picture, instead of ``audio`` and ``visual``. ``clip`` names
    columns that say which part is used.
    """
    windows = clip.columns if clip else []
    columns = ("audio", "visual", "label", *group_columns, *windows)
    rows = read_table(path, columns, ("split", "id"), bad, instead={"video": ("audio", "visual")})
    # JSON lines have no header in which the reader would miss them.
    for name, setting in [
        *((name, "group_columns") for name in group_columns),
        *((each, "clip") for each in windows),
    ]:
        if rows and not any(name in row.cells for row in rows):
            raise UserError(
                f"{path}: no column {name!r}{near(name, rows[0].cells)}; there are {', '.join(rows[0].cells)}: "
                f"correct dataset.{setting}"
            )
    divided = any("split" in row.cells for row in rows)
    pairs: dict[str, Pair] = {}
    for row in rows:
        try:
            pair = _in_row(row, divided, group_columns, clip)
            if other := pairs.get(pair.id):
                raise row.bad("id", f"{pair.id!r} is that of {other.source} too; give each row a unique one")
            pairs[pair.id] = pair
        except BadFileError as error:
            bad.append(error)
    return list(pairs.values())


def _in_row(row: Row, divided: bool, group_columns: Sequence[str], clip: ClipConfig | None) -> Pair:
    source = f"{row.position} of {row.table.name}"
    split = "train"
    if divided:
        name = row.text("split").strip()
        split = SPLIT_NAMES.get(name.lower(), "")
        if not split:
            raise row.bad("split", f"{_no_split(name)}; write one of {', '.join(SPLIT_NAMES)}")
    label = composed(row.text("label", number=True).strip())
    if not label:
        raise row.bad("label", "is blank; write the name of a class")
    columns = _columns(row)
    files = [row.file(column) for column in columns]
    name = " ".join(row.text(column) for column in dict.fromkeys(columns))
    window = window_of(row, clip.start, clip.seconds) if clip and clip.columns else None
    if window:
        name += f" {window.start:g}"
    if row.cells.get("id") not in (None, ""):
        name = row.text("id", number=True)
    groups = tuple(_group(row, column) for column in group_columns)
    return Pair(files[0], files[1], split, label, name, source, groups, window)


def _columns(row: Row) -> tuple[str, str]:
    """The columns that name the sound and the picture of a row."""
    if row.cells.get("video") in (None, "") and ("audio" in row.cells or "video" not in row.cells):
        return "audio", "visual"
    for column in ("audio", "visual"):
        if row.cells.get(column) not in (None, ""):
            raise row.bad("video", f"names a file, and so does column {column!r}; empty one of the two")
    return "video", "video"


def _group(row: Row, column: str) -> str:
    group = composed(row.text(column, number=True).strip())
    if not group:
        raise row.bad(column, "is blank; write the name of a group")
    return group


def _no_split(name: str) -> str:
    return f"{name!r} is not a split{near(name, SPLIT_NAMES)}"


def separated(pairs: Sequence[Pair], bad: list[BadFileError]) -> list[Pair]:
    """The pairs without those that share a file with another split.

    A shared file stays in the test split, else in the validation split.
    """
    owner: dict[str, Pair] = {}
    kept = []
    for pair in sorted(pairs, key=lambda pair: ("test", "validation", "train").index(pair.split)):
        files = pair.files
        other = next((owner[file] for file in files if file in owner and owner[file].split != pair.split), None)
        if other:
            reason = (
                f"is in the {pair.split} split ({pair.source}), and one of its files in the {other.split} split"
            )
            bad.append(BadFileError(pair.audio, f"{reason} ({other.source}) too; remove one of the two"))
        else:
            owner.update(dict.fromkeys(files, pair))
            kept.append(pair)
    return kept


def composed(text: str) -> str:
    """A name in Unicode's composed form, in which equal names are equal strings."""
    return unicodedata.normalize("NFC", text)
