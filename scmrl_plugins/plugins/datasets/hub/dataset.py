"""The data set ``hub``: any Hugging Face data set with columns of sounds, of pictures or videos, and of labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.interfaces import MODALITIES, BadFileError, Contents, Modality, ModelConfig
from scmrl_plugins.plugins.datasets.bases.recordings import Recordings, RecordingsConfig
from scmrl_plugins.plugins.datasets.hub import rows
from scmrl_plugins.plugins.datasets.hub.cells import file_of
from scmrl_plugins.plugins.datasets.hub.columns import Opened
from scmrl_plugins.plugins.datasets.hub.config import HubConfig
from scmrl_plugins.plugins.datasets.hub.source import Source
from scmrl_plugins.plugins.datasets.media.audio import HEADERS, common_rate
from scmrl_plugins.plugins.datasets.miniatures.hub import write_tables
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets


class Hub(Recordings):
    """A Hugging Face data set: an id of the hub, a folder, or tables (Parquet, JSON lines, CSV, Arrow).

    Cells hold files or name them; relative names start from the data set's folder. Without a validation split (or,
    with ``test``, without a test split) a share of the training rows is kept for it: drawn by ``seed`` within each
    class, of a stream by the row's number; or by complete groups of ``group_columns``. A row's id is
    ``split/number``. A row with an unknown label or an empty cell is bad. Nothing of a data set is executed or
    unpickled. A run's configuration keeps the classes, the columns and the commit.
    """

    Config = HubConfig

    def __init__(self, config: HubConfig, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes, self.group_columns = config.classes, config.group_columns

    @classmethod
    def settle(cls, config: HubConfig) -> HubConfig:
        """The configuration with the classes, columns, commit and sample rate of the data, where it lacks any."""
        source = _source(config)
        if config.classes and all(config.columns.values()) and config.sample_rate:
            return config  # as in a run, which may be opened where its data are not
        with source.reported():
            opened = Opened.of(source, config)
            update: dict[str, Any] = {f"{purpose}_column": name for purpose, name in opened.columns.items()}
            update["classes"] = config.classes or opened.classes()
            update["sample_rate"] = config.sample_rate or common_rate(rows.some_sounds(opened, HEADERS))
            update["revision"] = source.commit() or config.revision
        return super().settle(config.model_copy(update=update))

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Two Parquet files, of training and test, whose cells hold the files."""
        write_tables(folder)
        return {"path": str(folder), "validation": 0.25}

    @functools.cached_property
    def _source(self) -> Source:
        return _source(self.config)

    def splits(self) -> datasets.DatasetDict | datasets.IterableDatasetDict:
        """``train``, ``validation`` and ``test``, with a further column for the ``problem`` of a bad row.

        Raises ``UserError`` for data that are missing, cannot be reached or read, or lack columns or splits, and
        for a group in two splits.
        """
        as_splits = rows.streams if self.config.streaming else rows.tables
        with self._source.reported():
            return as_splits(Opened.of(self._source, self.config), self.config, self.classes)

    def transform_key(self) -> Mapping[str, Any]:
        """The settings and sizes that the stored arrays depend on; of a stream also its identity."""
        key = super().transform_key()
        if not self.config.streaming:
            return key
        transforms = set(RecordingsConfig.model_fields) - {"validation"}
        return {**key, "stream": [self._source.identity(), self.config.model_dump(exclude=transforms)]}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, list[np.ndarray]]:
        """As ``Recordings`` does; raises ``BadFileError`` also for the ``problem`` of a row.

        Raises ``ConnectionError`` where a file that a cell names cannot be fetched.
        """
        if "id" not in rows:  # the user's own files
            return super().transform(rows)
        for row, problem in zip(rows["id"], rows["problem"], strict=True):
            if problem:
                raise BadFileError(row, problem)
        cells: dict[str, list[Any]] = {
            name: [self._file(cell, row, name) for cell, row in zip(rows[name], rows["id"], strict=True)]
            for name in MODALITIES
        }
        return super().transform({**rows, **cells})

    def inspect(self, row: Mapping[str, Any]) -> Contents:
        """As ``Recordings`` does; raises as ``transform``."""
        return super().inspect({name: self._file(row[name], str(row["id"]), name) for name in MODALITIES})

    def _file(self, cell: Any, row: str, modality: Modality) -> dict[str, Any] | None:
        """The file that a cell holds or names; none for an empty one."""
        if cell is None:
            return None
        return file_of(cell, row, self.config.columns[modality] or modality, self._source.base)


def _source(config: HubConfig) -> Source:
    if config.path is None:
        raise UserError(
            "data set 'hub' needs data: set dataset.path to an id of the hub (user/name), to a folder, or to "
            "tables with columns of sounds, of pictures and of labels"
        )
    return Source(config.path, config.subset, config.revision, config.streaming)
