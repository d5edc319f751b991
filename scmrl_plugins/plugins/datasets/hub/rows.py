"""Rows of a Hugging Face data set as splits with ``audio``, ``visual``, ``label`` and ``id``.

Further columns are the groups, and ``problem``: what is wrong with a row's label or group, or which cell is empty.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.interfaces import MODALITIES, SPLITS, BadFileError
from scmrl_plugins.plugins.datasets.files.groups import connected, refuse_divided
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.hub.cells import absolute, content_of, if_empty
from scmrl_plugins.plugins.datasets.hub.columns import Labels, Opened
from scmrl_plugins.plugins.datasets.hub.config import HubConfig
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets
    import pyarrow

FIRST = 16
"""Rows of a stream that are read for their sample rate."""
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def tables(opened: Opened, config: HubConfig, classes: Sequence[str]) -> datasets.DatasetDict:
    """All splits as tables; those that the data set lacks are carved out of its training rows."""
    import datasets

    splits = {name: _table(opened, name, config, classes) for name in opened.rows}
    for column in config.group_columns:
        refuse_divided(
            opened.source, column, {opened.names[name]: rows[column][:] for name, rows in splits.items()}
        )
    keys = _keys(splits["train"], opened, config)
    rng = np.random.default_rng(config.seed)
    for name, share in (("test", config.test), ("validation", config.validation)):
        if name not in splits and share is not None:
            train = splits["train"]
            rest, taken = grouped(np.array(train["label"][:], dtype=int), keys, share, rng)
            if not len(rest) or not len(taken):
                raise UserError(
                    f"{opened.source}: {len(train)} training rows cannot spare a share of {share} for the {name} "
                    f"split; change dataset.{name}, or name a split in dataset.{name}_split"
                )
            splits[name], splits["train"], keys = train.select(taken), train.select(rest), keys[rest]
    return datasets.DatasetDict({name: _limited(splits[name], config.limit) for name in SPLITS})


def _keys(train: datasets.Dataset, opened: Opened, config: HubConfig) -> np.ndarray:
    """A key for each training row, the same for those that must not be divided."""
    if config.group_columns:
        columns = [train[column][:] for column in config.group_columns]
        named = [zip(config.group_columns, groups, strict=True) for groups in zip(*columns, strict=True)]
        return connected([[str(key) for key in keys] for keys in named])
    groups = opened.values("train", "group") if config.group_column else range(len(train))
    return np.array([str(group) for group in groups])


def _table(opened: Opened, purpose: str, config: HubConfig, classes: Sequence[str]) -> datasets.Dataset:
    """The rows of one of the data set's splits; file contents stay in its Arrow files, paths are read."""
    import datasets
    import pyarrow

    labels = Labels(opened.features[opened.columns["label"]], classes)
    labelled = [labels(value) for value in opened.values(purpose, "label")]
    groups = {column: opened.groups(purpose, column) for column in config.group_columns}
    problems = [[problem for _, problem in labelled]]
    problems += [[problem for _, problem in named] for named in groups.values()]
    files = {name: _file_column(opened.rows[purpose], opened.columns[name], name) for name in MODALITIES}
    problems += [_empty(column.data.column(name), opened.columns[name]) for name, column in files.items()]
    cells: dict[str, Any] = {
        "label": [label for label, _ in labelled],
        "problem": [next(filter(None, each), None) for each in zip(*problems, strict=True)],
        "id": [f"{opened.names[purpose]}/{number}" for number in range(len(labelled))],
        **{column: [group for group, _ in named] for column, named in groups.items()},
    }
    features = datasets.Features(
        {
            "label": datasets.ClassLabel(names=list(classes)),
            "problem": datasets.Value("string"),
            "id": datasets.Value("string"),
            **dict.fromkeys(groups, datasets.Value("string")),
        }
    )
    columns = []
    for name, column in files.items():
        if _holds_content(column.data.column(name)):
            columns.append(column)
            continue
        # By absolute paths, so that the feature store notices a file that changes.
        paths = [cell and cell.get("path") for cell in column[:][name]]
        cells[name] = [
            {"bytes": None, "path": absolute(path, opened.source.base)} if path else None for path in paths
        ]
        features[name] = _undecoded()[name]
    table = pyarrow.table(cells, schema=features.arrow_schema)
    info = datasets.DatasetInfo(features=features)
    return datasets.concatenate_datasets(
        [*columns, datasets.Dataset(table, info=info, fingerprint="rows")], axis=1
    )


def _undecoded() -> dict[str, Any]:
    import datasets

    return {"audio": datasets.Audio(decode=False), "visual": datasets.Image(decode=False)}


def _empty(cells: pyarrow.ChunkedArray, column: str) -> list[str | None]:
    """What ``if_empty`` says of each cell, whose content is not read."""
    found: list[str | None] = []
    for chunk in cells.chunks:
        parts = {field.name: values for field, values in zip(chunk.type, chunk.flatten(), strict=True)}
        stand_ins = [
            values.to_pylist()
            if name == "path"
            else [True if held else None for held in values.is_valid().to_pylist()]
            for name, values in parts.items()
        ]
        found += [if_empty(dict(zip(parts, cell, strict=True)), column) for cell in zip(*stand_ins, strict=True)]
    return found


def _holds_content(cells: pyarrow.ChunkedArray) -> bool:
    """Whether a cell has more than a path."""
    names = [field.name for field in cells.type if field.name in ("bytes", "array")]
    return any(chunk.field(name).null_count < len(chunk) for chunk in cells.chunks for name in names)


def _file_column(rows: datasets.Dataset, name: str, modality: str) -> datasets.Dataset:
    """A column as ``{"bytes", "path"}``, not copied; Arrow's large types are converted once, on disk.

    Cells that hold samples, ``{"array", "sampling_rate"}``, stay as they are.
    """
    import datasets

    column = rows.select_columns([name]).rename_columns({name: modality})
    kind = column.features[modality]
    if isinstance(kind, datasets.Value) and kind.dtype.startswith("large_"):
        narrow = datasets.Value(kind.dtype.removeprefix("large_"))
        column = column.cast(datasets.Features({modality: narrow}), batch_size=16)
    if isinstance(kind, dict) and "array" in kind:
        return column
    return column.cast_column(modality, _undecoded()[modality])


def _limited(table: datasets.Dataset, limit: int | None) -> datasets.Dataset:
    """At most ``limit`` rows, evenly spread, as many data sets are sorted by class."""
    if limit is None or limit >= len(table):
        return table
    return table.select(np.arange(limit) * len(table) // limit)


def some_sounds(opened: Opened, count: int) -> list[bytes | Path]:
    """Contents or paths of up to ``count`` recordings of the training rows, evenly spread; of a stream the first.

    Empty cells, and addresses, which would have to be fetched, are passed over.
    """
    import datasets

    rows, name = opened.rows["train"], opened.columns["audio"]
    if isinstance(rows, datasets.IterableDataset):
        cells = [row[name] for row in _not_decoded(rows, opened).take(min(count, FIRST))]
    else:
        picked = rows.select(range(0, len(rows), math.ceil(len(rows) / count) or 1))
        cells = _file_column(picked, name, "audio")[:]["audio"]
    sounds: list[bytes | Path] = []
    for cell in cells:
        with contextlib.suppress(BadFileError):
            content, path = content_of(cell, "", name)
            if content is not None:
                sounds.append(content)
            elif path and "://" not in (path := absolute(path, opened.source.base)):
                sounds.append(Path(path))
    return sounds


def _not_decoded(rows: datasets.IterableDataset, opened: Opened) -> datasets.IterableDataset:
    """A stream whose cells hold files as they are."""
    for name in (opened.columns["audio"], opened.columns["visual"]):
        if type(opened.features[name]).__name__ in ("Audio", "Image", "Video"):
            rows = rows.cast_column(name, dataclasses.replace(opened.features[name], decode=False))
    return rows


def streams(opened: Opened, config: HubConfig, classes: Sequence[str]) -> datasets.IterableDatasetDict:
    """All splits as streams; those that the data set lacks get a share of its training rows."""
    import datasets

    return datasets.IterableDatasetDict({name: _stream(opened, config, classes, name) for name in SPLITS})


def _stream(opened: Opened, config: HubConfig, classes: Sequence[str], split: str) -> datasets.IterableDataset:
    source = split if split in opened.rows else "train"
    rows, columns = _not_decoded(opened.rows[source], opened), opened.columns
    labels = Labels(opened.features[columns["label"]], classes)
    shared = source == "train" and len(opened.rows) < len(SPLITS)
    if shared and len(config.group_columns) > 1:
        raise UserError(
            f"{opened.source}: rows of a stream can be divided by one column of groups only; name one in "
            f"dataset.group_columns, or set dataset.streaming to false"
        )

    def convert(cells: Mapping[str, Any], number: int) -> dict[str, Any]:
        label, problem = labels(cells[columns["label"]])
        groups = {column: opened.group(column, cells[column]) for column in config.group_columns}
        names = {column: name for column, (name, _) in groups.items()}
        problems = [problem, *(wrong for _, wrong in groups.values())]
        problems += [if_empty(cells[columns[name]], columns[name]) for name in MODALITIES]
        group = cells[columns["group"]] if "group" in columns else next(iter(names.values()), None)
        return {
            **names,
            "audio": cells[columns["audio"]],
            "visual": cells[columns["visual"]],
            "label": label,
            "problem": next(filter(None, problems), None),
            "id": f"{opened.names[source]}/{number}",
            "split": _split_at(_position(number, group), opened, config) if shared else source,
        }

    rows = rows.map(convert, with_indices=True, remove_columns=list(opened.features))
    if shared:
        rows = rows.filter(lambda row: row["split"] == split)
    return rows.take(config.limit) if config.limit else rows


def _split_at(position: float, opened: Opened, config: HubConfig) -> str:
    """The split of a training row by its position in [0, 1)."""
    test = 0.0 if "test" in opened.rows or config.test is None else config.test
    validation = 0.0 if "validation" in opened.rows else config.validation * (1.0 - test)
    return "test" if position < test else "validation" if position < test + validation else "train"


def _position(number: int, group: Any) -> float:
    """A position in [0, 1): evenly spread whatever the order of the classes; the same for all rows of a group."""
    if group is None:
        return (number + 1) * GOLDEN % 1.0
    return int.from_bytes(hashlib.sha256(str(group).encode()).digest()[:8], "big") / 2.0**64
