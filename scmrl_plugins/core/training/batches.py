"""The training batches of a run, grouped into steps of the optimizer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.loading import Batch, training_loader
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.parallel.processes import Processes
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.training.tokens import TokenCache


class Steps:
    """The steps of every epoch: ``train.accumulate`` batches each, fewer in the last one.

    A ``TrainingState`` says which step comes next; batches are this process's share, sizes count all processes.
    """

    def __init__(self, splits: Sequence[FeatureSplit], config: ExperimentConfig, processes: Processes) -> None:
        self.loader, self.sampler = training_loader(splits, config, processes)
        self.batch, self.accumulate = config.train.batch_size, config.train.accumulate
        self.samples = self.batch * self.accumulate
        self.per_epoch = math.ceil(self.sampler.length / self.samples)
        self.tokens: TokenCache | None = None
        """Where set, batches have tokens in place of inputs."""

    def remaining(self, state: TrainingState) -> Iterator[list[Batch]]:
        """The batches of every step that is left of an epoch."""
        self.sampler.epoch, self.sampler.start = state.epoch, state.step * self.samples
        loader = self.tokens.loader(self.loader, state.epoch) if self.tokens else self.loader
        return self._grouped(iter(loader))

    def _grouped(self, batches: Iterator[Batch]) -> Iterator[list[Batch]]:
        while step := list(itertools.islice(batches, self.accumulate)):
            yield step

    def sizes(self, state: TrainingState) -> list[int]:
        """Samples of each batch of the next step."""
        start, end = self._range(state)
        return [min(self.batch, end - first) for first in range(start, end, self.batch)]

    def single(self) -> str:
        """Where a process trains on a single sample, for messages; empty if it never does."""
        n, count = self.sampler.length, self.sampler.processes.count
        if (n % self.batch or self.batch) // count != 1 and self.batch // count != 1:
            return ""
        each = f", or one for each of {count} processes" if count > 1 else ""
        return f"train.batch_size = {self.batch} leaves one of {n} samples for a batch{each}"

    def describe(self, state: TrainingState) -> str:
        """The next step and its first samples, for messages."""
        start, end = self._range(state)
        names = self.loader.dataset.ids(self.sampler.order()[start:end])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"epoch {state.epoch + 1}, step {state.step + 1} (samples {', '.join(names[:3])}{more})"

    def done(self, state: TrainingState) -> int:
        """Steps of the run so far."""
        return state.epoch * self.per_epoch + state.step

    def _range(self, state: TrainingState) -> tuple[int, int]:
        start = state.step * self.samples
        return start, min(start + self.samples, self.sampler.length)
