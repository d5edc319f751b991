"""From a data set's rows to batches of tensors: features computed once, then loaded in a fixed order."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Sampler

from scmrl_plugins.core.config import ExperimentConfig
from scmrl_plugins.core.interfaces import Dataset
from scmrl_plugins.registry import UserError, catalogue

if TYPE_CHECKING:
    import datasets

Batch = dict[str, Tensor]
SPLITS = ("train", "validation", "test")


class FeatureSplit(torch.utils.data.Dataset):
    """One split as features: ``split[i]`` is ``{"audio": [C, H, W], "visual": [C, H, W], "label": []}``."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows.with_format("numpy")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
        batch = self.rows[list(indices)]
        return [{key: column[place] for key, column in batch.items()} for place in range(len(indices))]


def load_splits(
    dataset: Dataset, config: ExperimentConfig, names: Sequence[str] = SPLITS
) -> dict[str, FeatureSplit]:
    """The named splits of a data set as features, from the cache where they were computed before.

    Raises ``UserError`` for a data set whose files are not there, or where one of these splits is empty.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    raw = dataset.splits()
    result = {}
    for name in names:
        if name not in raw or not len(raw[name]):
            raise UserError(f"data set {config.dataset.name!r} has no {name} samples")
        rows = raw[name]
        first = dataset.transform(rows[:1])
        features = datasets.Features(
            {key: _feature(value) for key, value in first.items()} | {"label": datasets.Value("int64")}
        )
        result[name] = FeatureSplit(
            rows.map(
                _Transform(dataset),
                batched=True,
                batch_size=256,
                remove_columns=rows.column_names,
                features=features,
                new_fingerprint=_fingerprint(rows, config),
                desc=f"features of the {name} split",
            )
        )
    return result


class _Transform:
    """Rows to features and label, as ``datasets.map`` wants it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __call__(self, rows: Mapping[str, list[Any]]) -> dict[str, Any]:
        return {**self.dataset.transform(rows), "label": rows["label"]}


def _feature(array: np.ndarray) -> Any:
    import datasets

    return {4: datasets.Array3D, 5: datasets.Array4D}[array.ndim](shape=array.shape[1:], dtype="float32")


def _fingerprint(rows: datasets.Dataset, config: ExperimentConfig) -> str:
    plugin = catalogue().get("dataset", config.dataset.name).plugin
    parts = (rows._fingerprint, plugin.distribution, plugin.version, config.dataset, config.model)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


class EpochSampler(Sampler[int]):
    """The order of one epoch: a permutation that follows from the seed and the epoch alone."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist())


def collate(rows: Sequence[Mapping[str, np.ndarray]]) -> Batch:
    """Rows to one batch of tensors."""
    return {key: torch.from_numpy(np.stack([np.asarray(row[key]) for row in rows])) for key in rows[0]}


def training_loader(
    splits: Sequence[FeatureSplit], config: ExperimentConfig
) -> tuple[DataLoader[Batch], EpochSampler]:
    """Batches of all the given splits together, in an order drawn anew each epoch (``sampler.epoch``)."""
    data: Any = splits[0] if len(splits) == 1 else ConcatDataset(splits)
    sampler = EpochSampler(len(data), config.train.seed)
    return _loader(data, config, sampler), sampler


def evaluation_loader(split: FeatureSplit, config: ExperimentConfig) -> DataLoader[Batch]:
    """Batches of a split in its own order."""
    return _loader(split, config, None)


def _loader(data: Any, config: ExperimentConfig, sampler: EpochSampler | None) -> DataLoader[Batch]:
    return DataLoader(
        data,
        batch_size=config.train.batch_size,
        sampler=sampler,
        num_workers=config.train.workers,
        collate_fn=collate,
        persistent_workers=config.train.workers > 0,
    )
