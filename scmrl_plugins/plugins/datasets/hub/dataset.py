"""The data set ``hub``: any Hugging Face data set with columns of sounds, of pictures or videos, and of labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.interfaces import MODALITIES, BadFileError, Contents, ModelConfig
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

    Cells hold files or name them; relative names start from the data set's folder. A column of videos may have the
    sounds, too. Without a validation split (or,
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
            update: dict[str, Any] = opened.settings()
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
        columns = [rows[name] for name in MODALITIES]
        files = [self._files(row, *cells) for row, *cells in zip(rows["id"], *columns, strict=True)]
        return super().transform({**rows, **{name: [row[name] for row in files] for name in MODALITIES}})

    def inspect(self, row: Mapping[str, Any]) -> Contents:
        """As ``Recordings`` does; raises as ``transform``."""
        return super().inspect(self._files(str(row["id"]), *(row[name] for name in MODALITIES)))

    def _files(self, row: str, audio: Any, visual: Any) -> dict[str, dict[str, Any] | None]:
        """The files that the cells of a row hold or name, none for an empty one. Each is fetched once."""
        files: dict[str, dict[str, Any] | None] = {}
        for name, cell in (("audio", audio), ("visual", visual)):
            column = self.config.columns[name] or name
            if name == "visual" and audio is not None and column == self.config.columns["audio"]:
                files[name] = files["audio"]
            else:
                files[name] = None if cell is None else file_of(cell, row, column, self._source.base)
        return files


def _source(config: HubConfig) -> Source:
    if config.path is None:
        raise UserError(
            "data set 'hub' needs data: set dataset.path to an id of the hub (user/name), to a folder, or to "
            "tables with columns of sounds, of pictures (or of videos with both) and of labels"
        )
    return Source(config.path, config.subset, config.revision, config.streaming)
