"""The splits of a data set with their features stored, computed where they are missing; what that will take."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.data.store import FeatureStore, TableStore
from scmrl_plugins.core.data.stream import StreamStore
from scmrl_plugins.core.data.transform import FileNotes, bad_files, transform_rows
from scmrl_plugins.core.interfaces import SPLITS, BadFileError, Dataset
from scmrl_plugins.core.system import collector
from scmrl_plugins.core.system.memory import format_bytes
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

PROBES = 9
"""Samples that are computed for an estimate, the first of which is not timed: it loads libraries."""


@dataclass
class Counts:
    """Samples of a split that were stored before, computed now or left out; bytes stored, and the folder."""

    folder: Path
    before: int = 0
    computed: int = 0
    skipped: int = 0
    size: int = 0


@dataclass
class Prepared:
    """Splits whose features are stored, the bad files left out of them, and the files that were repaired.

    ``settings``: what the data set measured of the training split, as ``Dataset.measure`` returns it.
    """

    splits: dict[str, FeatureSplit] = field(default_factory=dict)
    bad: FileNotes = field(default_factory=list)
    repaired: FileNotes = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def computed(self) -> int:
        """Samples whose features were missing before."""
        return sum(counts.computed for counts in self.counts.values())


def load_splits(
    dataset: Dataset, config: ExperimentConfig, names: Sequence[str] = SPLITS
) -> dict[str, FeatureSplit]:
    """Only the splits of ``prepare``, with progress on standard error."""
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
    """The named splits of a data set with their features stored; those that are missing are computed.

    ``on_bad`` (default ``data.on_bad``) decides whether a bad file stops it or is left out. ``rows`` (default
    ``dataset.splits()``) are the rows by split. If the training split is named, the data set measures it. Raises
    ``UserError`` for a data set whose files are missing, or where one of these splits is empty.
    """
    with collector.paused():
        import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    progress = progress or Progress.silent()
    workers = config.train.workers if workers is None else workers
    skip = (on_bad or config.data.on_bad) == "skip"
    rows = dataset.splits() if rows is None else rows
    prepared = Prepared()

    def leave_out(bad: FileNotes) -> None:
        if bad and not skip:
            raise BadFileError(bad[0][0], f"{bad[0][1]}; or leave such files out with --set data.on_bad=skip")
        prepared.bad += bad

    leave_out(bad_files(dataset))
    for name in names:
        store = feature_store(dataset, config, name, rows)
        counts = prepared.counts[name] = Counts(store.folder)
        with contextlib.closing(store.fill(workers, progress)) as outcomes:
            for outcome in outcomes:
                leave_out(outcome.bad)
                prepared.repaired += outcome.repaired
                counts.skipped += len(outcome.bad)
                counts.size += outcome.size
                if outcome.computed:
                    counts.computed += outcome.rows
                else:
                    counts.before += outcome.rows
        split = store.read()
        if split is None:
            raise UserError(
                f"data set {config.dataset.name!r} has no {name} sample that can be used: scmrl data check lists "
                f"the reasons"
            )
        prepared.splits[name] = split
    if train := prepared.splits.get("train"):
        prepared.settings = dict(dataset.measure(train.stored(index)[0] for index in range(len(train))))
    # A file may be in several samples.
    prepared.bad, prepared.repaired = list(dict.fromkeys(prepared.bad)), list(dict.fromkeys(prepared.repaired))
    return prepared


def feature_store(dataset: Dataset, config: ExperimentConfig, split: str, rows: Mapping[str, Any]) -> FeatureStore:
    """The store of one of a data set's splits; ``UserError`` if that has no samples."""
    import datasets

    table = rows.get(split)
    if isinstance(table, datasets.IterableDataset):
        return StreamStore(dataset, config, split, table)
    if table is None or not len(table):
        raise UserError(f"data set {config.dataset.name!r} has no {split} samples")
    return TableStore(dataset, config, split, table)


@dataclass(frozen=True)
class Estimate:
    """Samples that are not stored yet, seconds and bytes that they will take, and bytes that are free."""

    samples: int
    seconds: float
    size: int
    free: int
    folder: Path

    def __str__(self) -> str:
        return (
            f"{self.samples:,} samples to compute: about {duration(self.seconds)} and {format_bytes(self.size)}; "
            f"{format_bytes(self.free)} are free in {self.folder}"
        )

    def refuse_too_large(self) -> None:
        """``UserError`` if the features need more space than there is."""
        if self.size > self.free:
            raise UserError(
                f"{self.folder}: the features need about {format_bytes(self.size)}, and {format_bytes(self.free)} "
                f"are free; free space or name another folder in SCMRL_CACHE"
            )


def estimate(
    dataset: Dataset, config: ExperimentConfig, rows: Mapping[str, Any], workers: int, least: int = 0
) -> Estimate | None:
    """The time and space of the samples that are not stored; ``None`` for a stream, and for less than ``least``.

    ``PROBES`` of them are computed by one process; ``workers`` processes share the work, as far as there are
    processors.
    """
    missing: dict[str, int] = {}
    folder = Path()
    for name in SPLITS:
        store = feature_store(dataset, config, name, rows)
        status = store.status()
        if status.total is None:
            return None
        missing[name], folder = status.total - status.stored, store.folder
    samples = sum(missing.values())
    if samples < least:
        return None
    seconds, sizes = (
        _measured(dataset, rows[max(missing, key=lambda name: missing[name])]) if samples else ([], [])
    )
    shared = max(1, min(workers, os.cpu_count() or 1))
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return Estimate(
        samples,
        samples * float(np.mean(seconds or [0.0])) / shared,
        round(samples * float(np.mean(sizes or [0]))),
        shutil.disk_usage(existing).free,
        folder,
    )


def _measured(dataset: Dataset, table: Any) -> tuple[list[float], list[int]]:
    """Seconds and bytes of a few rows, evenly spread over a table; of bad rows only the seconds."""
    seconds, sizes = [], []
    for index in np.linspace(0, len(table) - 1, min(PROBES, len(table))).round().astype(int).tolist():
        start = time.perf_counter()
        result = transform_rows(dataset, table[index : index + 1])
        seconds.append(time.perf_counter() - start)
        sizes.append(sum(array.nbytes for arrays in result.arrays for array in arrays.values()))
    return seconds[1:] or seconds, sizes


def duration(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
