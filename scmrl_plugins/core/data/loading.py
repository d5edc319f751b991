"""Batches for training and evaluation: which samples, in which order, loaded by which process."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.corruption import corrupt_training_sample
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.data.workers import Guarded, first_error, start_worker, unguarded
from scmrl_plugins.core.parallel.processes import SINGLE_PROCESS, Processes
from scmrl_plugins.core.system import seeds
from scmrl_plugins.registry import Entry, UserError, catalogue
from scmrl_plugins.registry.errors import describe

Batch = dict[str, Tensor]


class Draw(NamedTuple):
    """The index of a sample to train on, and the epoch: together they seed what is drawn at random for it."""

    epoch: int
    sample: int


class TrainingData(torch.utils.data.Dataset):
    """The samples of several splits, indexed by ``Draw``.

    What is drawn for a sample follows from the seed, the epoch and the sample, whichever process loads it: the
    augmentation of the data set, then noise and modality dropout as configured.
    """

    def __init__(self, splits: Sequence[FeatureSplit], config: ExperimentConfig) -> None:
        self.splits, self.seed, self.config = list(splits), config.train.seed, config.data
        self.ends = np.cumsum([len(split) for split in splits])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def identity(self) -> list[Any]:
        """What the samples are, for ``digest``: the files of their features, named after the content."""
        return ["training", *([path.name for path in split.paths] for split in self.splits)]

    def _find(self, index: int) -> tuple[FeatureSplit, int]:
        """The split of a sample, and its index there."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        split = self.splits[number]
        return split, index - int(self.ends[number]) + len(split)

    def ids(self, indices: Sequence[int]) -> list[str]:
        """The ids of samples, for messages."""
        return [split.rows[index]["id"][0].as_py() for split, index in map(self._find, indices)]

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return self.drawn(draw)[0]

    def drawn(self, draw: Draw) -> tuple[dict[str, Any], bool]:
        """A sample, and whether anything was drawn at random for it."""
        split, index = self._find(draw.sample)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seeds.mix(self.seed, *draw))
            before = torch.default_generator.get_state()
            sample = split.sample(index, training=True)
            if self.config.noise or self.config.modality_dropout:
                sample = corrupt_training_sample(sample, self.config, split.blank, torch.default_generator)
            return sample, not torch.equal(before, torch.default_generator.get_state())

    def without_inputs(self, sample: int) -> dict[str, Any]:
        """Only the label of a sample."""
        split, index = self._find(sample)
        return {"label": split.labels[index]}


class EvaluationData(torch.utils.data.Dataset):
    """The samples of a split, each with its ``index`` in the split."""

    def __init__(self, split: FeatureSplit) -> None:
        self.split = split

    @property
    def identity(self) -> list[Any]:
        """What the samples are, as in ``TrainingData``."""
        return ["evaluation", [path.name for path in self.split.paths]]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.split[index], "index": np.int64(index)}

    def drawn(self, draw: Draw) -> tuple[dict[str, Any], bool]:
        """A sample, for which nothing is drawn at random."""
        return self[draw.sample], False

    def without_inputs(self, sample: int) -> dict[str, Any]:
        """Only the label and the index of a sample."""
        return {"label": self.split.labels[sample], "index": np.int64(sample)}


class EpochSampler(Sampler[list[Draw]]):
    """The batches of one epoch, of a permutation that depends only on the seed and the epoch.

    A process gets its share of each batch, so that the batches are the same for any number of processes.
    ``start``: the first sample of the epoch that a resumed run has not trained on yet.
    """

    def __init__(self, length: int, batch_size: int, seed: int, processes: Processes = SINGLE_PROCESS) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.processes = processes
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return math.ceil((self.length - self.start) / self.batch_size)

    def order(self) -> list[int]:
        """The samples of the complete epoch."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist()

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self.order()
        for start in range(self.start, self.length, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield [Draw(self.epoch, index) for index in self.processes.share(batch)]


def collate(rows: Sequence[Mapping[str, np.ndarray]]) -> Batch:
    """Samples to one batch of tensors."""
    return {key: torch.from_numpy(np.stack([np.asarray(row[key]) for row in rows])) for key in rows[0]}


def _collate_or_error(source: Entry, rows: Sequence[Any]) -> Batch | UserError:
    if (refused := first_error(rows)) is not None:
        return refused
    try:
        return collate(rows)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if source.plugin.builtin:
            raise
        return UserError(f"{source}: its samples do not fit together: {describe(error)}; {source.plugin.remedy}")


def training_loader(
    splits: Sequence[FeatureSplit], config: ExperimentConfig, processes: Processes = SINGLE_PROCESS
) -> tuple[Loader, EpochSampler]:
    """Batches of all the given splits together, in another order each epoch (``sampler.epoch``).

    Raises ``UserError`` if the last batch of an epoch has fewer samples than there are processes.
    """
    data, size = TrainingData(splits, config), config.train.batch_size
    sampler = EpochSampler(len(data), size, config.train.seed, processes)
    last, count = len(data) % size or size, sampler.processes.count
    if last < count:
        raise UserError(
            f"train.batch_size = {size} leaves {last} of {len(data)} samples for the last batch of an epoch, and "
            f"each of {count} processes needs one: choose another batch size, or fewer processes"
        )
    return Loader(data, config, sampler), sampler


def evaluation_loader(
    split: FeatureSplit,
    config: ExperimentConfig,
    processes: Processes = SINGLE_PROCESS,
    data: EvaluationData | None = None,
    batch_size: int | None = None,
) -> Loader:
    """Batches of a split in its order, with each sample's ``index``; n processes take every n-th batch each.

    ``data`` (default ``EvaluationData(split)``): the samples. ``batch_size``: default ``train.batch_size``.
    """
    size = batch_size or config.train.batch_size
    starts = range(0, len(split), size)[processes.rank :: processes.count]
    samples = data or EvaluationData(split)
    return Loader(samples, config, [range(start, min(start + size, len(split))) for start in starts])


class Loader:
    """Batches of samples, read by ``train.workers`` processes, or by this one for 0.

    A worker's ``UserError`` is raised here with its message.
    """

    def __init__(self, data: Any, config: ExperimentConfig, batches: Any) -> None:
        self.dataset, self.batches = data, batches
        self.source = catalogue().get("dataset", config.dataset.name)
        self._loader = _loader(data, batches, config.train.workers, self.source)

    def reading(self, samples: Any) -> Loader:
        """The same batches, of samples that come from elsewhere, read by this process."""
        other = copy.copy(self)
        other._loader = _loader(samples, self.batches, 0, self.source)
        return other

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return unguarded(self._loader, self.source)


def _loader(data: Any, batches: Any, workers: int, source: Entry) -> DataLoader[Any]:
    return DataLoader(
        Guarded(data, source),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=functools.partial(_collate_or_error, source),
        persistent_workers=workers > 0,
        worker_init_fn=start_worker,
    )
