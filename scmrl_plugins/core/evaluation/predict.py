"""Predictions of a trained model for the user's files.

The inputs are what the run's data set makes of the files, by the settings that the run has. A modality without a
file is replaced where that is known to work, by the first that applies:

- ``blank``: the data set's silence or black, for a modality that was left out at random in training
  (``data.modality_dropout``)
- ``split``: the read-out's share of the other modality, where ``alone.method`` is that: it has nothing of the
  missing one
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.evaluation import alone
from scmrl_plugins.core.evaluation.evaluate import trained_precision
from scmrl_plugins.core.interfaces import MODALITIES, Files, Span
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.system import seeds
from scmrl_plugins.registry import UserError

Inputs = Mapping[str, Tensor]
"""Of one sample, ``[C, H, W]`` or ``[T, C, H, W]`` by modality; a missing one is left out."""
Ranked = list[dict[str, Any]]
"""``{"label", "probability"}`` of each class, best first."""


@dataclass(frozen=True)
class Sample:
    """What is to be classified: the name of a sample, its inputs, and which part of its files it is."""

    name: str
    inputs: Inputs
    window: Span | None = None


@dataclass(frozen=True)
class Failure:
    """A sample that cannot be classified, with the reason as one line."""

    name: str
    reason: str
    window: Span | None = None


@dataclass(frozen=True)
class Prediction:
    """The classes of a sample."""

    name: str
    ranked: Ranked
    window: Span | None = None


class Predictor:
    """A trained model for files, in evaluation mode on a device, in the precision of its training.

    Components that draw get the same random numbers in every batch. ``convert``: whether files that do not match
    the training data are resampled or resized where the data set would refuse them.
    """

    def __init__(self, parts: Assembly, device: torch.device, *, convert: bool = False) -> None:
        self.parts, self.device, self.convert = parts, device, convert
        self.model = parts.model.to(device).eval()
        dropped: Mapping[Any, float] = parts.config.data.modality_dropout
        single = alone.method(self.model) == "split"
        # By modality: how the model works without it.
        self.without = {
            name: "blank" if dropped.get(name) else "split" if single else "" for name in self.model.modalities
        }

    def needed(self, given: Collection[str]) -> list[str]:
        """The modalities that the model needs beside the given ones."""
        used = [name for name in self.model.modalities if name in given]
        return [name for name in self.model.modalities if name not in given and not (used and self.without[name])]

    def given(self, audio: Path | None, visual: Path | None) -> dict[str, Path | None]:
        """The files to read by modality. Raises ``UserError`` where the model needs one that is missing."""
        paths = {"audio": audio, "visual": visual}
        for name in self.needed({name for name, path in paths.items() if path is not None}):
            raise UserError(f"fusion {self.model.config.fusion.name!r} needs {name}: give --{name} FILE")
        if audio == visual:  # of a video with its sound, both tell how long it lasts
            return paths
        return {name: paths[name] if name in self.model.modalities else None for name in MODALITIES}

    def inputs(self, audio: Path | None, visual: Path | None, window: Span | None = None) -> Inputs:
        """The inputs from a user's files, or from a part of them.

        Raises ``UserError`` for a missing modality, an unreadable file, or one that does not match the training
        data.
        """
        given, dataset = self.given(audio, visual), self.parts.dataset
        if window is None:
            return self._inputs(dataset.read(**given, convert=self.convert))
        return self._inputs(dataset.part(**given, window=window, convert=self.convert))

    def samples(
        self, files: Iterable[Files], window: tuple[float, float] | None = None
    ) -> Iterator[Sample | Failure]:
        """Read files one after the other, or their parts; ``window``: duration and hop of these in seconds."""
        for one in files:
            try:
                if window is not None:
                    yield from self._windows(one, *window)
                else:
                    yield Sample(one.name, self.inputs(one.audio, one.visual, one.window), one.window)
            except UserError as error:
                yield Failure(one.name, str(error), one.window)

    def predictions(
        self, samples: Iterable[Sample | Failure], batch_size: int = 32
    ) -> Iterator[list[Prediction | Failure]]:
        """The predictions of samples in batches, in their order; failures stay where they are."""
        for batch in _batches(samples, batch_size):
            read = [sample for sample in batch if isinstance(sample, Sample)]
            found = iter(self.ranked([sample.inputs for sample in read]) if read else ())
            yield [one if isinstance(one, Failure) else self._named(one, next(found)) for one in batch]

    @torch.no_grad()
    def ranked(self, batch: Sequence[Inputs]) -> list[Ranked]:
        """The classes of each sample by the softmax of its logits; empty where that is not finite."""
        groups: dict[Any, list[int]] = {}
        for index, inputs in enumerate(batch):
            groups.setdefault(tuple((name, x.shape) for name, x in inputs.items()), []).append(index)
        found: dict[int, Ranked] = {}
        for members in groups.values():
            stacked = {name: torch.stack([batch[index][name] for index in members]) for name in batch[members[0]]}
            with seeds.generators_kept(self.device), trained_precision(self.model, self.device):
                torch.manual_seed(0)
                logits = self._logits({name: x.to(self.device) for name, x in stacked.items()})
            for index, row in zip(members, logits.float().softmax(1).cpu(), strict=True):
                found[index] = rank(self.model.classes, row) if row.isfinite().all() else []
        return [found[index] for index in range(len(batch))]

    def classified(self, inputs: Inputs) -> Ranked:
        """The classes of one sample. Raises ``UserError`` where the prediction is not finite."""
        [[found]] = self.predictions([Sample("the sample", inputs)])
        if isinstance(found, Failure):
            raise UserError(f"{found.name}: {found.reason}")
        return found.ranked

    def _named(self, sample: Sample, ranked: Ranked) -> Prediction | Failure:
        if ranked:
            return Prediction(sample.name, ranked, sample.window)
        reason = "the output of the model is not finite; its weights are damaged or diverged: train it again"
        return Failure(sample.name, reason, sample.window)

    def _windows(self, files: Files, seconds: float, hop: float) -> Iterator[Sample | Failure]:
        given = self.given(files.audio, files.visual)
        rows = self.parts.dataset.windows(**given, seconds=seconds, hop=hop, convert=self.convert)
        for start, end, row in rows:
            try:
                yield Sample(files.name, self._inputs(row), (start, end))
            except UserError as error:
                yield Failure(files.name, str(error), (start, end))

    def _inputs(self, row: Mapping[str, Any]) -> Inputs:
        dataset = self.parts.dataset
        features = dataset.transform({name: [value] for name, value in row.items()})
        sample: Mapping[Any, np.ndarray] = dataset.inputs(
            {name: np.asarray(column[0]) for name, column in features.items()}, False
        )
        inputs = {name: torch.from_numpy(sample[name]) for name in self.model.modalities if name in sample}
        for name, x in inputs.items():
            if not x.isfinite().all():
                raise UserError(f"{name} has values that are not finite; correct the file")
        return inputs

    def _logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The logits ``[B, K]`` of inputs ``[B, ...]``, of which a modality may be missing."""
        missing = next((name for name in self.model.modalities if name not in inputs), None)
        complete = self.complete(inputs)
        if missing is None or self.without[missing] == "blank":
            return self.model(**complete).logits
        with alone.Split(self.model) as split:
            self.model(**complete)
        shares: Mapping[Any, Tensor] = split.logits
        return next(shares[name] for name in inputs)

    def complete(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inputs ``[B, ...]`` with the data set's silence or black for a modality that is missing."""
        some, blank = next(iter(inputs.values())), dict[Any, Any](self.parts.dataset.blank)
        size = self.model.config.model.image_size
        return {
            name: inputs[name]
            if name in inputs
            else torch.as_tensor(blank[name], dtype=some.dtype, device=some.device).expand(
                len(some), self.model.channels[name], size, size
            )
            for name in self.model.modalities
        }


def rank(classes: Sequence[str], probabilities: Tensor) -> Ranked:
    """The classes with their probabilities ``[K]``, best first."""
    ranked = sorted(zip(classes, probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
    return [{"label": label, "probability": probability} for label, probability in ranked]


def _batches(samples: Iterable[Sample | Failure], size: int) -> Iterator[list[Sample | Failure]]:
    """Lists of ``size`` samples; ``itertools.batched`` needs Python 3.12."""
    remaining = iter(samples)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def predict(
    parts: Assembly, audio: Path | None, visual: Path | None, device: torch.device, *, convert: bool = False
) -> Ranked:
    """The classes of one sample. Raises as ``Predictor.inputs``, and where the prediction is not finite."""
    predictor = Predictor(parts, device, convert=convert)
    return predictor.classified(predictor.inputs(audio, visual))


def file_inputs(
    parts: Assembly, audio: Path | None, visual: Path | None, device: torch.device, *, convert: bool = False
) -> dict[str, Tensor]:
    """The model's inputs from a user's files, ``[1, ...]`` for each modality in use, which must all be given."""
    predictor = Predictor(parts, device, convert=convert)
    predictor.without = dict.fromkeys(predictor.without, "")
    return {name: x[None].to(device) for name, x in predictor.inputs(audio, visual).items()}
