"""The splits of a data set with their features stored, computed where they are missing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.data.store import FeatureStore, TableStore
from scmrl_plugins.core.data.stream import StreamStore
from scmrl_plugins.core.data.transform import FileNotes, bad_files
from scmrl_plugins.core.interfaces import SPLITS, BadFileError, Dataset
from scmrl_plugins.core.system import collector
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError


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
