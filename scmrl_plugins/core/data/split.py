"""One split of a data set as a model gets it, from stored features."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scmrl_plugins.core.data.parts import GROUP, read_array
from scmrl_plugins.core.data.transform import Arrays
from scmrl_plugins.core.interfaces import MODALITIES, Dataset, Modality


class FeatureSplit(torch.utils.data.Dataset):
    """One split from its Arrow files, memory-mapped: ``split[i]`` is ``{"audio", "visual", "label"}``.

    ``sample(i, training=True)`` draws from torch's generator what the data set draws anew.
    """

    def __init__(self, dataset: Dataset, paths: Sequence[Path]) -> None:
        import datasets
        from datasets.table import MemoryMappedTable, concat_tables

        self.dataset, self.paths = dataset, list(paths)
        # A Dataset for each file would take milliseconds a file.
        self.table = concat_tables([MemoryMappedTable.from_file(str(path)) for path in paths])
        self.rows = datasets.Dataset(self.table).with_format("arrow")
        self.positions = np.arange(len(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[str]:
        """The id of every sample."""
        return self.rows["id"][:].to_pylist()

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """The class of every sample, ``[n]``."""
        return np.asarray(self.rows["label"][:].to_pylist(), dtype=np.int64)

    @property
    def groups(self) -> dict[str, list[str]]:
        """By group column of the data set, the group of every sample."""
        columns = [name for name in self.rows.column_names if name.startswith(GROUP)]
        return {name.removeprefix(GROUP): self.rows[name][:].to_pylist() for name in columns}

    @functools.cached_property
    def blank(self) -> Mapping[Modality, np.ndarray]:
        """``Dataset.blank``, computed once."""
        return self.dataset.blank

    def subset(self, indices: Sequence[int]) -> FeatureSplit:
        """The split with these samples only, in this order."""
        other = copy.copy(self)
        other.rows = self.rows.select(indices)
        other.positions = self.positions[indices]
        vars(other).pop("labels", None)  # of the complete split
        return other

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.sample(index)

    def sample(self, index: int, *, training: bool = False) -> dict[str, Any]:
        """A sample's inputs and its label."""
        arrays, label = self.stored(index)
        return {**self.dataset.inputs(arrays, training), "label": np.int64(label)}

    def stored(self, index: int) -> tuple[Arrays, int]:
        """A sample's arrays as ``transform`` returned them, read-only; and its label."""
        # From the table: a row as ``datasets`` formats it takes longer.
        position = int(self.positions[index])
        names = [name for name in MODALITIES if name in self.table.column_names]
        return {name: read_array(self.table.column(name)[position]) for name in names}, int(self.labels[index])
