"""Training samples from stored features against decoding and transforming their files each time, in one run."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmrl_plugins.bench.spread import spread
from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data import prepare
from scmrl_plugins.core.data.prepare import Batch, training_loader
from scmrl_plugins.core.data.store import FeatureSplit
from scmrl_plugins.core.interfaces import Dataset, Handled
from scmrl_plugins.core.model.assembly import build_dataset
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError, catalogue, register_file
from scmrl_plugins.registry.catalogue import INLINE

if TYPE_CHECKING:
    import datasets

DECODED, STORED = "decoded", "stored"
GROWTH = 8
"""How many times larger the second of the two data sets is whose memory is compared."""


class Decoded(FeatureSplit):
    """The same samples with nothing stored: each is decoded and transformed whenever it is asked for."""

    def __init__(self, dataset: Dataset, rows: datasets.Dataset) -> None:
        self.dataset, self.rows = dataset, rows

    def stored(self, index: int) -> tuple[Mapping[str, np.ndarray], int]:
        """What ``transform`` makes of a sample's files, and the label."""
        row = self.rows[index : index + 1]
        arrays = self.dataset.transform(row)
        return {name: np.asarray(column[0]) for name, column in arrays.items()}, row["label"][0]


class Loading:
    """A split in the loader of training, whose workers live on from one epoch to the next."""

    def __init__(self, split: FeatureSplit, config: ExperimentConfig) -> None:
        self.loader, self.sampler = training_loader([split], config)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        self.sampler.epoch = number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Handled)
            yield from self.loader


def run(config: ExperimentConfig, samples: int, repeats: int, progress: Progress) -> dict[str, Any]:
    """Seconds of an epoch through the training loader from stored features, and from the files, in turns.

    ``ratio`` is that of the least times; ``memory`` that of a process which loads an eighth of the samples eight
    times, and of one which loads all once. Raises ``UserError`` for a data set that cannot be read, or is small.
    """
    dataset, config = build_dataset(config)
    rows = _first(dataset, config, samples)
    # Several batches of one size from either: they take memory themselves, and two are there at a time.
    few = len(rows) // GROWTH
    batch = max(1, min(config.train.batch_size, few // 4))
    config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": batch})})
    stored = _store(dataset, config, rows, progress)
    ids = set(stored.rows["id"].to_pylist())
    good = [place for place, name in enumerate(rows["id"]) if str(name) in ids]
    sides = {DECODED: Loading(Decoded(dataset, rows.select(good)), config), STORED: Loading(stored, config)}
    progress.line(f"{len(stored)} training samples: an epoch of each to compare them, then {repeats} in turns")
    same = all(map(_equal, *(side.epoch(0) for side in sides.values())))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    progress.stage("epochs", repeats * len(sides))
    for epoch in range(1, repeats + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            for _ in side.epoch(epoch):
                pass
            seconds[name].append(time.perf_counter() - started)
            progress.advance()
    epochs = {name: spread(found) for name, found in seconds.items()}
    progress.line("memory of a process that loads as many batches of an eighth of the samples, and of all")
    _store(
        dataset, config, rows.select(range(few)), progress
    )  # so that it is not computed where memory is measured
    with ThreadPoolExecutor() as pool:
        measure = functools.partial(_in_a_process, config)
        small, large = pool.map(measure, (few, len(rows)), (GROWTH, 1))
    known = small["private"] and large["private"]
    return {
        "ratio": epochs[DECODED]["minimum"] / epochs[STORED]["minimum"],
        "median_ratio": epochs[DECODED]["median"] / epochs[STORED]["median"],
        "samples_per_second": {
            name: {"best": len(stored) / found["minimum"], "median": len(stored) / found["median"]}
            for name, found in epochs.items()
        },
        "memory": {
            "small": small,
            "large": large,
            "grows": large["private"] - small["private"] if known else None,
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


def _first(dataset: Dataset, config: ExperimentConfig, samples: int) -> datasets.Dataset:
    """The first training samples."""
    import datasets

    rows = dataset.splits()["train"]
    if isinstance(rows, datasets.IterableDataset):
        raise UserError(
            f"data set {config.dataset.name!r} is a stream here: measure it with streaming switched off"
        )
    if len(rows) < GROWTH:
        raise UserError(
            f"data set {config.dataset.name!r}: {len(rows)} training samples, and {GROWTH} are the least"
        )
    return rows.select(range(min(samples, len(rows))))


def _store(dataset: Dataset, config: ExperimentConfig, rows: datasets.Dataset, progress: Progress) -> FeatureSplit:
    return prepare.prepare(dataset, config, ["train"], rows={"train": rows}, progress=progress).splits["train"]


def _equal(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Memory -----------------------------------------------------------------------------------------------


def _in_a_process(config: ExperimentConfig, samples: int, epochs: int) -> dict[str, Any]:
    """``_memory`` in a process of its own; ``UserError`` where that ends before it has answered."""
    task = {
        "config": config.model_dump(),
        "samples": samples,
        "epochs": epochs,
        "plugins": [p.file for p in catalogue().plugins if p.distribution == INLINE and p.file],
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"],
        input=json.dumps(task),
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise UserError(f"the process that measures memory ended with {done.returncode}: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Read a task on standard input, answer on standard output."""
    task = json.loads(sys.stdin.read())
    for file in task["plugins"]:
        register_file(file)
    print(json.dumps(_memory(layers.validate(task["config"]), task["samples"], task["epochs"])))


def _memory(config: ExperimentConfig, samples: int, epochs: int) -> dict[str, Any]:
    """Bytes that a process has to itself ``before`` it loads the first batch, and at the most, ``private``.

    Pages of the stored files that are mapped, ``stored`` bytes in all, are left out: the system takes those back
    at will. None where the system does not tell.
    """
    dataset, config = build_dataset(config)
    with Progress() as progress:
        split = _store(dataset, config, _first(dataset, config, samples), progress)
    before, loading = _private(), Loading(split, config)
    told = [_private() for epoch in range(epochs) for _ in loading.epoch(epoch)]
    stored = sum(Path(file["filename"]).stat().st_size for file in split.rows.cache_files)
    most = max(filter(None, told), default=None)
    return {"samples": len(split), "stored": stored, "before": before, "private": most}


def _private() -> int | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else None
