"""The data set ``av-folder`` as its tests build it, and pairs of files for it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture, write_sound

Cells = dict[str, Any]


def folder(**settings: object) -> AVFolder:
    """The data set as the commands build it: with the classes looked up."""
    config = AVFolder.Config.model_validate({"validation": 0.25, **settings})
    return AVFolder(AVFolder.settle(config), ModelConfig(image_size=16))


def ids(dataset: AVFolder) -> dict[str, list[str]]:
    return {name: split["id"][:] for name, split in dataset.splits().items()}


def total(dataset: AVFolder) -> int:
    return sum(map(len, ids(dataset).values()))


def reasons(dataset: AVFolder) -> dict[str, str]:
    bad = dataset.bad_files()
    assert all(";" in error.reason for error in bad)
    found = {error.path: error.reason for error in bad}
    assert len(found) == len(bad)
    return found


def put(folder: Path, stem: str, number: int = 1) -> Path:
    """A pair of files; returns the sound."""
    write_picture(folder / f"{stem}.jpg", number)
    return write_sound(folder / f"{stem}.wav", number)


def write_csv(path: Path, rows: Sequence[Cells]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Cells]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Cells]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def rows_of(root: Path, **more: Callable[[int], object]) -> list[Cells]:
    """The samples of a folder as rows, with more columns by the row's number."""
    rows: list[Cells] = []
    for sound in sorted(root.rglob("*.wav")):
        picture = next(
            path for path in sorted(sound.parent.iterdir()) if path.stem == sound.stem and path != sound
        )
        cells = {"audio": str(sound.relative_to(root)), "visual": str(picture.relative_to(root))}
        cells |= {"label": sound.parent.name, "split": sound.parent.parent.name}
        rows.append(cells | {name: of(len(rows)) for name, of in more.items()})
    return rows
