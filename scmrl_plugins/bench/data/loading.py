"""Training samples of a data set, stored and loaded as training does it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data import prepare
from scmrl_plugins.core.data.loading import Batch, training_loader
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.interfaces import Dataset, RepairedFileWarning
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

GROWTH = 8
"""How many times larger the second of the two data sets is whose memory is compared."""


class Loading:
    """A split in the training loader, which keeps its workers from one epoch to the next."""

    def __init__(self, split: FeatureSplit, config: ExperimentConfig) -> None:
        self.loader, self.sampler = training_loader([split], config)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        self.sampler.epoch = number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RepairedFileWarning)
            yield from self.loader


def training_rows(dataset: Dataset, config: ExperimentConfig, samples: int) -> datasets.Dataset:
    """The first ``samples`` training samples; ``UserError`` for a stream, or fewer than ``GROWTH`` samples."""
    import datasets

    rows = dataset.splits()["train"]
    name = config.dataset.name
    if isinstance(rows, datasets.IterableDataset):
        raise UserError(f"data set {name!r} is a stream here: measure it with streaming switched off")
    if len(rows) < GROWTH:
        raise UserError(f"data set {name!r}: {len(rows)} training samples; at least {GROWTH} are required")
    return rows.select(range(min(samples, len(rows))))


def store(dataset: Dataset, config: ExperimentConfig, rows: datasets.Dataset, progress: Progress) -> FeatureSplit:
    """The stored features of training samples, computed where they are missing."""
    return prepare.prepare(dataset, config, ["train"], rows={"train": rows}, progress=progress).splits["train"]
