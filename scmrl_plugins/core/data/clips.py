"""A table of the clips in a folder, with what they hold and what is wrong with them."""

from __future__ import annotations

import csv
import functools
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmrl_plugins.core.data.workers import map_items
from scmrl_plugins.core.interfaces import BadFileError, Dataset, ModelConfig
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import Entry, UserError

ENDINGS = (".csv", ".parquet")
SPLIT_FOLDERS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval"})
"""Names of folders, in lower case, that are a split and not a class."""
COLUMNS = {
    "audio": str,
    "visual": str,
    "label": str,
    "split": str,
    "duration": float,
    "sample_rate": int,
    "frame_rate": float,
    "width": int,
    "height": int,
    "bytes": int,
    "fault": str,
}
"""The columns of the table and their types; ``split`` only where every clip is in the folder of one."""


@dataclass(frozen=True)
class Imported:
    """The rows of a table that was written, a dictionary by column each."""

    rows: list[dict[str, Any]]

    @property
    def faulty(self) -> list[tuple[str, str]]:
        """The clips with a fault, and the fault."""
        return [(row["visual"], row["fault"]) for row in self.rows if row["fault"]]

    @property
    def unlabelled(self) -> int:
        """The clips that are in no folder of a class."""
        return sum(not row["label"] for row in self.rows)


def import_video(source: Entry, folder: Path, table: Path, progress: Progress, workers: int = 0) -> Imported:
    """Write a table of all clips in a folder and below it, in the order of their paths.

    A clip's row names it as ``audio`` and as ``visual``, relative to the table, with the folder it is in as
    ``label``. The data set ``source`` reads the clips. Raises ``UserError`` for a folder without clips, and for a
    table of another format.
    """
    cls = source.load()
    dataset = cls(cls.Config(), ModelConfig())
    if table.suffix.lower() not in ENDINGS:
        raise UserError(f"{table}: a table of clips ends in {' or '.join(ENDINGS)}; for example -o clips.csv")
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder; name the one that holds the clips")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in dataset.clip_endings
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        endings = ", ".join(sorted(dataset.clip_endings))
        raise UserError(f"{folder}: holds no clip; the endings of clips are {endings}")
    progress.stage("reading clips", len(paths))
    rows = []
    describe = functools.partial(_row, dataset, folder, table.absolute().parent)
    for row in map_items(describe, paths, workers, source):
        rows.append(row)
        progress.advance()
    if not all(row["split"] for row in rows):
        for row in rows:
            del row["split"]
    _write(table, rows)
    return Imported(rows)


def _row(dataset: Dataset, folder: Path, base: Path, path: Path) -> dict[str, Any]:
    """The row of one clip, whose path is written relative to ``base``."""
    above = path.relative_to(folder).parts[:-1]
    split = above[0].lower() if above and above[0].lower() in SPLIT_FOLDERS else ""
    label = above[-1] if len(above) > bool(split) else ""
    name = os.path.relpath(path.absolute(), base)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"audio": name, "visual": name, "label": label, "split": split, "fault": ""}
    try:
        "".join((name, label)).encode()
    except UnicodeEncodeError:
        name, label = (text.encode(errors="surrogateescape").decode(errors="replace") for text in (name, label))
        return row | {"audio": name, "visual": name, "label": label, "fault": "its name is not UTF-8; rename it"}
    faults = []
    for modalities in (("audio", "visual"), ("visual",), ("audio",)):
        try:
            contents = dataset.inspect({each: {"bytes": None, "path": str(path)} for each in modalities})
        except BadFileError as error:
            faults.append(error.reason)
            continue
        if contents:
            width, height = contents.size or (None, None)
            row |= {
                "duration": round(max(contents.seconds.values(), default=0.0), 3),
                "sample_rate": contents.sample_rate,
                "frame_rate": contents.frame_rate and round(contents.frame_rate, 3),
                "width": width,
                "height": height,
            }
            faults += contents.notes
        break  # else what one modality tells, with what is wrong with the other
    row["bytes"] = path.stat().st_size if path.exists() else None
    row["fault"] = "; ".join(dict.fromkeys(faults))
    return row


def _write(table: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as CSV or Parquet, as the table's name says, or not at all."""
    if table.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files.write_text(table, text.getvalue())
        return
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    columns = {
        name: pyarrow.array([row[name] for row in rows], types[kind])
        for name, kind in COLUMNS.items()
        if name in rows[0]
    }
    with files.saved(table), files.replacing(table) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
