"""Data sets of Hugging Face: whatever has a column of sounds, one of pictures or videos, and one of labels."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from scmrl_plugins.core.interfaces import MODALITIES, BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.bases.recordings import Recordings, RecordingsConfig
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.hub.columns import Labels, Opened
from scmrl_plugins.plugins.datasets.hub.source import NAMES, Source
from scmrl_plugins.plugins.datasets.miniatures.hub import write_tables
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe

if TYPE_CHECKING:
    import datasets

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_STARTS = {b"FLV": ".flv", b"\x1aE\xdf\xa3": ".mkv", b"\x00\x00\x01\xba": ".mpg"}


class Hub(Recordings):
    """A Hugging Face data set: an id of the hub, a folder, or tables (Parquet, JSON lines, CSV, Arrow).

    Its cells hold files or name them; what a relative name starts from is the data set's folder. Where there is no
    validation split (or, with ``test``, no test split) a share of the training rows is: drawn by ``seed`` within
    each class, of a stream by the row's number; or by whole groups of ``group_column``. A row's id is
    ``split/number``. One whose label is none of the classes, or whose cell is empty, is bad. Nothing of a data set
    is executed or unpickled. A run's configuration keeps the classes, the columns and the commit that were found.
    """

    class Config(RecordingsConfig):
        """Settings of ``hub``."""

        path: str | Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
            None, description="user/name on the hub, a folder, or tables (also as a glob)"
        )
        subset: str | None = Field(None, description="configuration of the data set, where it has several")
        revision: str | None = Field(None, description="branch, tag or commit on the hub; none: the main branch")
        streaming: bool = Field(False, description="read rows as they come and keep no copy but the features")
        limit: int | None = Field(
            None, ge=1, description="rows of each split, spread over it; of a stream its first; none: all"
        )
        audio_column: str | None = Field(None, description="column of sounds; none: found by type, then by name")
        visual_column: str | None = Field(
            None, description="column of pictures or videos; none: found by type, then by name"
        )
        label_column: str | None = Field(None, description="column of labels; none: found by type, then by name")
        group_column: str | None = Field(
            None, description="column whose equal values stay together where a split is made, such as the speaker"
        )
        train_split: str | None = Field(None, description="name of the training split; none: train or training")
        validation_split: str | None = Field(None, description="its name; none: validation, valid, val or dev")
        test_split: str | None = Field(None, description="its name; none: test or testing")
        validation: float = Field(
            0.1, gt=0, lt=1, description="share of the training rows for validation where no split is for it"
        )
        test: float | None = Field(
            None, gt=0, lt=1, description="share of the training rows for a test where no split is for it"
        )
        classes: tuple[str, ...] = Field((), strict=False, description="names of the classes; empty: those found")

        @field_validator("path")
        @classmethod
        def _path_is_some(cls, path: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
            if path is not None and (not path or "" in (path if isinstance(path, tuple) else (path,))):
                raise ValueError("is empty: write an id of the hub, a folder or a table")
            return path

        @field_validator("classes")
        @classmethod
        def _classes_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
            if names and (len({*names}) < len(names) or len(names) < 2):
                raise ValueError("write two classes or more, none of them twice")
            return names

        @model_validator(mode="after")
        def _each_its_own(self) -> Hub.Config:
            for of, names in (
                ("column", (self.audio_column, self.visual_column, self.label_column)),
                ("split", (self.train_split, self.validation_split, self.test_split)),
            ):
                given = [name for name in names if name is not None]
                if twice := next((name for name in given if given.count(name) > 1), None):
                    raise ValueError(f"{of} {twice!r} is named for two purposes; name each once")
            return self

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes = config.classes

    @classmethod
    def settle(cls, config: Hub.Config) -> Hub.Config:
        """The configuration with the classes, columns and commit that are found, where it lacks any."""
        source = _source(config)
        if all((config.classes, config.audio_column, config.visual_column, config.label_column)):
            return config  # as that of a run is, which may be where its data are not
        opened = Opened.of(source, config)
        found = {f"{purpose}_column": name for purpose, name in opened.columns.items()}
        revision = source.commit() or config.revision
        return config.model_copy(
            update={**found, "classes": config.classes or opened.classes(), "revision": revision}
        )

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Two Parquet files, of training and test, whose cells hold the files."""
        write_tables(folder)
        return {"path": str(folder), "validation": 0.25}

    @functools.cached_property
    def _source(self) -> Source:
        return _source(self.config)

    def splits(self) -> datasets.DatasetDict | datasets.IterableDatasetDict:
        """``train``, ``validation`` and ``test``, with a further column for the ``problem`` of a bad label.

        Raises ``UserError`` for what is not there, cannot be reached or read, or has no such columns or splits.
        """
        import datasets

        opened = Opened.of(self._source, self.config)
        if self.config.streaming:
            return datasets.IterableDatasetDict({name: self._stream(opened, name) for name in NAMES})
        tables = {name: self._table(opened, name) for name in opened.rows}
        grouped_by = opened.values("train", "group") if self.config.group_column else range(len(tables["train"]))
        keys = np.array([str(key) for key in grouped_by])
        rng = np.random.default_rng(self.config.seed)
        for name in ("test", "validation"):
            if name not in tables:
                rest, taken = self._parts(tables["train"], keys, name, rng)
                tables[name], tables["train"] = tables["train"].select(taken), tables["train"].select(rest)
                keys = keys[rest]
        return datasets.DatasetDict({name: self._limited(tables[name]) for name in NAMES})

    def _table(self, opened: Opened, purpose: str) -> datasets.Dataset:
        """The rows of a split that is there; what they hold stays in its Arrow files, what names files is read."""
        import datasets
        import pyarrow

        labels = Labels(opened.features[opened.columns["label"]], self.classes)
        found = [labels(value) for value in opened.values(purpose, "label")]
        own: dict[str, Any] = {
            "label": [place for place, _ in found],
            "problem": [problem for _, problem in found],
            "id": [f"{opened.names[purpose]}/{number}" for number in range(len(found))],
        }
        features = datasets.Features(
            {
                "label": datasets.ClassLabel(names=list(self.classes)),
                "problem": datasets.Value("string"),
                "id": datasets.Value("string"),
            }
        )
        columns = []
        for name, kind in _kinds().items():
            column = _cells(opened.rows[purpose], opened.columns[name], name)
            if any(chunk.field("bytes").null_count < len(chunk) for chunk in column.data.column(name).chunks):
                columns.append(column)
                continue
            # Named by their whole paths, so that a file that changes is noticed.
            paths = [cell and cell["path"] for cell in column[:][name]]
            own[name] = [{"bytes": None, "path": self._whole(path)} if path else None for path in paths]
            features[name] = kind
        table = pyarrow.table(own, schema=features.arrow_schema)
        info = datasets.DatasetInfo(features=features)
        return datasets.concatenate_datasets(
            [*columns, datasets.Dataset(table, info=info, fingerprint="rows")], axis=1
        )

    def _parts(
        self, table: datasets.Dataset, keys: np.ndarray, name: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The places of the training rows that stay and of those that become the split ``name``."""
        share = getattr(self.config, name)
        labels = np.array(table["label"][:], dtype=int)
        parts = grouped(labels, keys, share, rng)
        if not all(map(len, parts)):
            raise UserError(
                f"{self._source}: {len(table)} training rows cannot spare a share of {share} for the {name} "
                f"split; change dataset.{name}, or name a split in dataset.{name}_split"
            )
        return parts

    def _limited(self, table: datasets.Dataset) -> datasets.Dataset:
        """At most ``limit`` rows, evenly spread: many a data set is sorted by class."""
        count = self.config.limit
        if count is None or count >= len(table):
            return table
        return table.select(np.arange(count) * len(table) // count)

    def _stream(self, opened: Opened, purpose: str) -> datasets.IterableDataset:
        """The rows of a split as they come; of the training split its share by the rows' numbers or groups."""
        source = purpose if purpose in opened.rows else "train"
        rows, columns = opened.rows[source], opened.columns
        for name in (columns["audio"], columns["visual"]):
            if hasattr(opened.features[name], "decode"):
                rows = rows.cast_column(name, dataclasses.replace(opened.features[name], decode=False))
        labels = Labels(opened.features[columns["label"]], self.classes)
        shared = source == "train" and len(opened.rows) < len(NAMES)

        def row(cells: Mapping[str, Any], number: int) -> dict[str, Any]:
            place, problem = labels(cells[columns["label"]])
            group = cells[columns["group"]] if "group" in columns else None
            return {
                "audio": cells[columns["audio"]],
                "visual": cells[columns["visual"]],
                "label": place,
                "problem": problem,
                "id": f"{opened.names[source]}/{number}",
                "split": self._share(_place(number, group), opened) if shared else source,
            }

        rows = rows.map(row, with_indices=True, remove_columns=list(opened.features))
        if shared:
            rows = rows.filter(lambda made: made["split"] == purpose)
        return rows.take(self.config.limit) if self.config.limit else rows

    def _share(self, place: float, opened: Opened) -> str:
        """The split of a training row by its place in [0, 1)."""
        test = 0.0 if "test" in opened.rows else self.config.test
        validation = 0.0 if "validation" in opened.rows else self.config.validation * (1.0 - test)
        return "test" if place < test else "validation" if place < test + validation else "train"

    def transform_key(self) -> Mapping[str, Any]:
        """What the stored arrays depend on; of a stream also which one it is."""
        key = super().transform_key()
        if not self.config.streaming:
            return key
        transforms = set(RecordingsConfig.model_fields) - {"validation"}
        return {**key, "stream": [self._source.identity(), self.config.model_dump(exclude=transforms)]}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, list[np.ndarray]]:
        """As ``Recordings`` does; raises ``BadFileError`` also for a bad label and an empty cell.

        ``ConnectionError`` where a file that a cell names cannot be fetched.
        """
        if "id" not in rows:  # files of the user's own
            return super().transform(rows)
        for row, problem in zip(rows["id"], rows["problem"], strict=True):
            if problem:
                raise BadFileError(row, problem)
        cells: dict[str, list[Any]] = {
            name: [self._cell(cell, row, name) for cell, row in zip(rows[name], rows["id"], strict=True)]
            for name in MODALITIES
        }
        return super().transform({**rows, **cells})

    def _cell(self, cell: Any, row: str, modality: str) -> dict[str, Any]:
        """A cell's bytes, or the path of its file, and a name that says the row and keeps the file's ending."""
        column = getattr(self.config, f"{modality}_column") or modality
        if isinstance(cell, str):
            cell = {"path": cell}
        elif isinstance(cell, bytes):
            cell = {"bytes": cell}
        held, path = (cell.get("bytes"), cell.get("path")) if cell else (None, None)
        if held is not None:
            return {"bytes": held, "path": f"{row}/{Path(path).name if path else column + _ending(held)}"}
        if not path:
            raise BadFileError(row, f"its cell of column {column!r} is empty; fill it or leave the row out")
        path = self._whole(path)
        return {"bytes": _fetched(path) if "://" in path else None, "path": path}

    def _whole(self, path: str) -> str:
        """A path or address of its own, whatever it started from."""
        return path if "://" in path or Path(path).is_absolute() else f"{self._source.base}/{path}"


def _source(config: Hub.Config) -> Source:
    if config.path is None:
        raise UserError(
            "data set 'hub' needs data: set dataset.path to an id of the hub (user/name), to a folder, or to "
            "tables with columns of sounds, of pictures and of labels"
        )
    return Source(config.path, config.subset, config.revision, config.streaming)


def _kinds() -> dict[str, Any]:
    import datasets

    return {"audio": datasets.Audio(decode=False), "visual": datasets.Image(decode=False)}


def _cells(rows: datasets.Dataset, name: str, modality: str) -> datasets.Dataset:
    """A column as ``{"bytes", "path"}``, where it lies; bytes of another width are copied once, to disk."""
    import datasets

    column = rows.select_columns([name]).rename_columns({name: modality})
    if getattr(column.features[modality], "dtype", "").startswith("large_"):
        narrow = datasets.Value(column.features[modality].dtype.removeprefix("large_"))
        column = column.cast(datasets.Features({modality: narrow}), batch_size=16)
    return column.cast_column(modality, _kinds()[modality])


def _place(number: int, group: Any) -> float:
    """A place in [0, 1), evenly spread and in step with no order of classes; of a group, its own."""
    if group is None:
        return (number + 1) * GOLDEN % 1.0
    return int.from_bytes(hashlib.sha256(str(group).encode()).digest()[:8], "big") / 2.0**64


def _ending(data: bytes) -> str:
    """The ending that a video's name would have; empty for what is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return ".avi"
    if data[4:8] == b"ftyp" and data[8:12] not in (b"avif", b"heic", b"mif1"):
        return ".mp4"
    return next((ending for start, ending in _STARTS.items() if data.startswith(start)), "")


def _fetched(address: str) -> bytes:
    """What lies at an address, on the hub (``hf://``) or anywhere that fsspec reaches."""
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise BadFileError(address, "is not there; correct the cell or leave the row out") from error
    except Exception as error:
        raise ConnectionError(f"{address}: cannot be fetched ({describe(error)})") from error
