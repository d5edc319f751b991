"""From a data set's rows to batches of tensors: features stored once, then loaded in a fixed order."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.store import FeatureSplit, FeatureStore, Outcome, alone
from scmrl_plugins.core.interfaces import BadFileError, Dataset
from scmrl_plugins.core.parallel.processes import ALONE, Processes
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError, catalogue

Batch = dict[str, Tensor]
SPLITS = ("train", "validation", "test")


@dataclass
class Counts:
    """What became of a split's samples: stored before, computed now, or left out; bytes stored, and where."""

    folder: Path
    before: int = 0
    computed: int = 0
    skipped: int = 0
    size: int = 0


@dataclass
class Prepared:
    """Splits whose features are stored, what had to be left out of them, and what was mended."""

    splits: dict[str, FeatureSplit] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    handled: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)

    @property
    def computed(self) -> int:
        """Samples whose features were not there before."""
        return sum(counts.computed for counts in self.counts.values())


def load_splits(
    dataset: Dataset, config: ExperimentConfig, names: Sequence[str] = SPLITS
) -> dict[str, FeatureSplit]:
    """``prepare`` where only the splits are wanted, with progress for people on standard error."""
    with Progress() as progress:
        return prepare(dataset, config, names, progress=progress).splits


def prepare(
    dataset: Dataset,
    config: ExperimentConfig,
    names: Sequence[str] = SPLITS,
    *,
    progress: Progress | None = None,
    on_bad: str | None = None,
    workers: int | None = None,
    rows: Mapping[str, Any] | None = None,
) -> Prepared:
    """The named splits of a data set with their features stored, computed where they were not before.

    A file that cannot be used stops it or is left out, by ``on_bad`` (default ``data.on_bad``). Raises
    ``UserError`` for a data set whose files are not there, or where one of these splits is empty.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    skip = (on_bad or config.data.on_bad) == "skip"
    name = config.dataset.name
    raw = dataset.splits() if rows is None else rows
    found = Prepared()

    def take(bad: Sequence[tuple[str, str]]) -> None:
        if bad and not skip:
            raise BadFileError(bad[0][0], f"{bad[0][1]}; or leave such files out with --set data.on_bad=skip")
        found.bad += bad

    problems = getattr(dataset, "bad_files", None)
    take([(error.path, error.reason) for error in problems()] if problems else [])
    for split in names:
        store = feature_store(dataset, config, split, raw)
        # Where everything is there nothing is written: a cache may be one that only others can write.
        whole = not store.streamed and not store.missing()
        waiting = functools.partial(_waiting, progress, store)
        with contextlib.nullcontext() if whole else alone(store.folder, waiting):
            counts = found.counts[split] = Counts(store.folder)
            for outcome, new in _outcomes(store, config, workers, progress):
                take(outcome.bad)
                found.handled += outcome.handled
                counts.skipped += len(outcome.bad)
                counts.computed += outcome.rows if new else 0
                counts.before += 0 if new else outcome.rows
        parts = [part for part in store.parts if (known := part.outcome()) is not None and known.rows]
        if not parts:
            raise UserError(f"data set {name!r} has no {split} sample that can be used: scmrl data check says why")
        counts.size = sum(part.path.stat().st_size for part in parts)
        found.splits[split] = FeatureSplit(dataset, parts)
    # A file may be in several samples.
    found.bad, found.handled = list(dict.fromkeys(found.bad)), list(dict.fromkeys(found.handled))
    return found


def feature_store(dataset: Dataset, config: ExperimentConfig, split: str, rows: Mapping[str, Any]) -> FeatureStore:
    """The store of one of a data set's splits; ``UserError`` where that has no samples."""
    import datasets

    if split not in rows or (not isinstance(rows[split], datasets.IterableDataset) and not len(rows[split])):
        raise UserError(f"data set {config.dataset.name!r} has no {split} samples")
    return FeatureStore(dataset, config, split, rows[split])


def _waiting(progress: Progress | None, store: FeatureStore) -> None:
    if progress:
        progress.line(f"another process prepares {store.split} in {store.folder}: waiting for it")


def _outcomes(
    store: FeatureStore, config: ExperimentConfig, workers: int | None, progress: Progress | None
) -> Iterator[tuple[Outcome, bool]]:
    """What became of all rows of a split, computing what is not stored yet, and whether it was computed now."""
    if store.streamed:
        if progress:
            progress.stage(f"features of the {store.split} split", None)
        for outcome, new in store.stream():
            if progress:
                progress.advance(outcome.rows + len(outcome.bad))
            yield outcome, new
        return
    todo = store.missing()
    missing = {part.start for part in todo}
    for part in store.parts:
        if part.start not in missing:
            known = part.outcome()
            assert known is not None
            yield known, False
    if not todo:
        return
    if progress:
        left = sum(map(store.samples, todo))
        if left < len(store.rows):
            progress.line(f"{store.split}: {len(store.rows) - left} samples are stored, {left} are to be computed")
        progress.stage(f"features of the {store.split} split", left)
    loader: Any = DataLoader(
        _Reader(_Computing(store, todo)),
        batch_size=None,
        num_workers=min(config.train.workers if workers is None else workers, len(todo)),
    )
    for outcome in _read(loader):
        if progress:
            progress.advance(outcome.rows + len(outcome.bad))
        yield outcome, True


class _Computing(torch.utils.data.Dataset):
    """Computes a missing part when it is asked for, in whichever process asks."""

    def __init__(self, store: FeatureStore, todo: Sequence[Any]) -> None:
        self.store, self.todo = store, todo

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, index: int) -> Outcome:
        return self.store.compute(self.todo[index])


class Draw(NamedTuple):
    """A sample to train on, and the epoch, which decides what is drawn anew of it."""

    epoch: int
    place: int


class TrainingData(torch.utils.data.Dataset):
    """Samples of all the given splits together, asked for by ``Draw``.

    What a sample draws follows from the seed, the epoch and the sample, whichever process loads it.
    """

    def __init__(self, splits: Sequence[FeatureSplit], seed: int) -> None:
        self.splits, self.seed = list(splits), seed
        self.ends = np.cumsum([len(split) for split in splits])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _find(self, place: int) -> tuple[FeatureSplit, int]:
        """The split that a sample is in, and where there."""
        which = int(np.searchsorted(self.ends, place, side="right"))
        return self.splits[which], place - int(self.ends[which]) + len(self.splits[which])

    def ids(self, places: Sequence[int]) -> list[str]:
        """What the samples are called, for messages."""
        return [split.rows[index]["id"][0].as_py() for split, index in map(self._find, places)]

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        split, index = self._find(draw.place)
        words = np.random.SeedSequence([self.seed, *draw]).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(words[0]))
            return split.sample(index, training=True)


class EpochSampler(Sampler[list[Draw]]):
    """The batches of one epoch, of a permutation that follows from the seed and the epoch alone.

    Of each batch a process gets its share, so that the batches are the same for any number of processes.
    ``start``: how many of the epoch's samples a run that goes on has trained on.
    """

    def __init__(self, length: int, batch_size: int, seed: int, processes: Processes = ALONE) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.processes = processes
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return math.ceil((self.length - self.start) / self.batch_size)

    def order(self) -> list[int]:
        """The samples of the whole epoch."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist()

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self.order()
        for start in range(self.start, self.length, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield [Draw(self.epoch, place) for place in self.processes.share(batch)]


def collate(rows: Sequence[Mapping[str, np.ndarray]]) -> Batch:
    """Rows to one batch of tensors."""
    return {key: torch.from_numpy(np.stack([np.asarray(row[key]) for row in rows])) for key in rows[0]}


def training_loader(
    splits: Sequence[FeatureSplit], config: ExperimentConfig, processes: Processes = ALONE
) -> tuple[Loader, EpochSampler]:
    """Batches of all the given splits together, in an order drawn anew each epoch (``sampler.epoch``).

    Raises ``UserError`` where the last batch of an epoch has not a sample for each process.
    """
    data, size = TrainingData(splits, config.train.seed), config.train.batch_size
    sampler = EpochSampler(len(data), size, config.train.seed, processes)
    last, count = len(data) % size or size, sampler.processes.count
    if last < count:
        raise UserError(
            f"train.batch_size = {size} leaves {last} of {len(data)} samples for the last batch of an epoch, and "
            f"each of {count} processes needs one: choose another batch size, or fewer processes"
        )
    return Loader(data, config, sampler), sampler


def evaluation_loader(split: FeatureSplit, config: ExperimentConfig, processes: Processes = ALONE) -> Loader:
    """Batches of a split in its own order; of several processes each takes every so many-th batch."""
    size = config.train.batch_size
    starts = range(0, len(split), size)[processes.rank :: processes.count]
    return Loader(split, config, [range(start, min(start + size, len(split))) for start in starts])


class Loader:
    """Batches of samples, read by as many processes as ``train.workers`` says, or by this one.

    What goes wrong with a sample is raised here as it was in the process that read it.
    """

    def __init__(self, data: Any, config: ExperimentConfig, batches: Any) -> None:
        self.dataset, self.batches = data, batches
        self._loader: DataLoader[Any] = DataLoader(
            _Reader(data),
            batch_sampler=batches,
            num_workers=config.train.workers,
            collate_fn=_collate_or_fail,
            persistent_workers=config.train.workers > 0,
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return _read(self._loader)


class _Reader(torch.utils.data.Dataset):
    """A data set whose errors are values where another process reads it, as torch would put that one's traceback
    into their message.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: Any) -> Any:
        if torch.utils.data.get_worker_info() is None:
            return self.data[place]
        try:
            return self.data[place]
        except UserError as error:
            return error
        except Exception as error:
            culprit = catalogue().culprit(error)
            if culprit is None:
                raise
            return UserError(culprit)


def _read(loader: DataLoader[Any]) -> Iterator[Any]:
    """What a loader of a ``_Reader`` reads; its errors are raised."""
    for read in loader:
        if isinstance(read, UserError):
            raise read
        yield read


def _collate_or_fail(rows: Sequence[Any]) -> Batch | UserError:
    return next((row for row in rows if isinstance(row, UserError)), None) or collate(rows)
