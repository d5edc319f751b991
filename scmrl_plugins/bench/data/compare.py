"""Training samples from stored features against decoding and transforming their files each time, in one run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmrl_plugins.bench.data import memory
from scmrl_plugins.bench.data.loading import GROWTH, Loading, store, training_rows
from scmrl_plugins.bench.spread import spread
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.loading import Batch
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.interfaces import Dataset
from scmrl_plugins.core.model.assembly import build_dataset
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system.progress import Progress

if TYPE_CHECKING:
    import datasets

DECODED, STORED = "decoded", "stored"


class Decoded(FeatureSplit):
    """The same samples with nothing stored: each access decodes and transforms the sample's files."""

    def __init__(self, dataset: Dataset, rows: datasets.Dataset) -> None:
        self.dataset, self.rows = dataset, rows

    def stored(self, index: int) -> tuple[Mapping[str, np.ndarray], int]:
        """The result of ``transform`` for a sample's files, and the label."""
        row = self.rows[index : index + 1]
        arrays = self.dataset.transform(row)
        return {name: np.asarray(column[0]) for name, column in arrays.items()}, row["label"][0]


def run(config: ExperimentConfig, samples: int, repeats: int, progress: Progress) -> dict[str, Any]:
    """Seconds of an epoch through the training loader from stored features, and from the files, alternately.

    ``ratio`` is that of the minima; ``memory`` compares a process that loads an eighth of the samples eight times
    with one that loads all of them once. Raises ``UserError`` for a data set that cannot be read, or is too small.
    """
    dataset, config = build_dataset(config)
    rows = training_rows(dataset, config, samples)
    # Several batches of one size from either: batches take memory too, and two are held at a time.
    few = len(rows) // GROWTH
    batch = max(1, min(config.train.batch_size, few // 4))
    config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": batch})})
    stored = store(dataset, config, rows, progress)
    ids = set(stored.rows["id"].to_pylist())
    good = [index for index, name in enumerate(rows["id"]) if str(name) in ids]
    sides = {DECODED: Loading(Decoded(dataset, rows.select(good)), config), STORED: Loading(stored, config)}
    progress.line(f"{len(stored)} training samples: an epoch of each to compare them, then {repeats} alternately")
    same = all(map(same_batch, *(side.epoch(0) for side in sides.values())))
    epochs = {name: spread(seconds) for name, seconds in _alternating(sides, repeats, progress).items()}
    progress.line("memory of a process that loads as many batches of an eighth of the samples, and of all")
    store(dataset, config, rows.select(range(few)), progress)  # not to be computed where memory is measured
    small, large = memory.measure(config, [(few, GROWTH), (len(rows), 1)])
    measured = small["private"] and large["private"]
    return {
        "ratio": epochs[DECODED]["minimum"] / epochs[STORED]["minimum"],
        "median_ratio": epochs[DECODED]["median"] / epochs[STORED]["median"],
        "samples_per_second": {
            name: {"best": len(stored) / times["minimum"], "median": len(stored) / times["median"]}
            for name, times in epochs.items()
        },
        "memory": {
            "small": small,
            "large": large,
            "grows": large["private"] - small["private"] if measured else None,
        },
        "same_batches": same,
        "epochs": epochs,
        "samples": len(stored),
        "settings": {
            "dataset": config.dataset.name,
            "repeats": repeats,
            "batch_size": batch,
            "workers": config.train.workers,
            "threads": torch.get_num_threads(),
            "image_size": config.model.image_size,
        },
        "hardware": environment.hardware("cpu"),
        "environment": environment.describe(config),
    }


def _alternating(sides: Mapping[str, Loading], repeats: int, progress: Progress) -> dict[str, list[float]]:
    """Seconds of every epoch, one of each side after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    progress.stage("epochs", repeats * len(sides))
    for epoch in range(1, repeats + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            for _ in side.epoch(epoch):
                pass
            seconds[name].append(time.perf_counter() - started)
            progress.advance()
    return seconds


def same_batch(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
