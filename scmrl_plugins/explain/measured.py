"""What a report measures on some samples of the test split, within a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import EvaluationData, Loader, evaluation_loader
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.evaluation.contribution import Contribution, contribution
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import CLEAN, Evaluation, evaluate, trained_precision
from scmrl_plugins.core.evaluation.modalities import Carried, carried
from scmrl_plugins.core.evaluation.profile import Profile, bounds, profile, verdicts
from scmrl_plugins.core.evaluation.robustness import Point, curve, hidden, noisy
from scmrl_plugins.core.evaluation.samples import samples_of_test
from scmrl_plugins.core.evaluation.steps import hits_by_step
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.system import seeds
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.explain.clock import Clock
from scmrl_plugins.explain.inside import Example, examine, representations
from scmrl_plugins.registry import UserError

MOST, LEAST = 256, 32
"""Samples that a report measures on, at most, and at least where the split has them."""
PASSES = 40
"""Roughly how often a sample passes through the model for all measurements."""
DECIBELS, SHARES = (-10.0, 0.0, 10.0, 20.0), (0.25, 0.5)
"""Noise and occlusion of the curves."""
EXAMPLES = 3
_CELLS = 2**26
"""Numbers of all inputs that are kept in memory."""


@dataclass(frozen=True)
class Curve:
    """Accuracy by the amount of a corruption of one modality, and of its best modality alone."""

    corruption: str
    modality: str
    points: list[Point]
    best_single: list[float]
    """At each point the more accurate of two: this modality alone, as corrupted, and the other one alone."""


@dataclass
class Measured:
    """The measurements on ``n`` of ``total`` samples; what time did not suffice for is empty, with a reason."""

    n: int
    total: int
    evaluation: Evaluation
    tags: frozenset[str] = frozenset()
    """Of the neuron."""
    carried: Carried | None = None
    contribution: Contribution | None = None
    by_step: list[float] = field(default_factory=list)
    """Accuracy after each time step."""
    space: dict[str, np.ndarray] = field(default_factory=dict)
    """By modality the stream after the fusion, or the residual that is aligned, as means over steps and tokens."""
    aligned: bool = False
    curves: list[Curve] = field(default_factory=list)
    profile: Profile | None = None
    verdicts: dict[str, str] = field(default_factory=dict)
    """By energy model, whether a network without spikes would be cheaper."""
    examples: list[Example] = field(default_factory=list)
    omitted: dict[str, str] = field(default_factory=dict)
    """By what could not be measured, the reason."""


class _Kept(EvaluationData):
    """Samples that are read once."""

    def __init__(self, split: FeatureSplit) -> None:
        super().__init__(split)
        self.read: dict[int, dict[str, Any]] = {}

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self.read:
            self.read[index] = super().__getitem__(index)
        return self.read[index]


def measure(parts: Assembly, device: torch.device, clock: Clock, progress: Progress) -> Measured:
    """Measure a run on some of its test samples, the most important first, until the time is up.

    Raises ``UserError`` where its data is not here, or the split has no sample.
    """
    split, total = samples_of_test(parts, MOST, progress)
    parts.model.to(device).eval()
    parts.loss.to(device).eval()
    split = split.subset(range(_affordable(parts, split, device, clock.left)))
    return _Measurement(parts, split, total, device, clock, progress).run()


def _affordable(parts: Assembly, split: FeatureSplit, device: torch.device, seconds: float) -> int:
    """How many samples can be measured in this time."""
    few = _Kept(split.subset(range(min(8, len(split)))))
    few_loader = Loader(few, parts.config, [range(len(few))])
    evaluate(parts.model, parts.loss, few_loader, device)  # the first call is slower
    started = time.perf_counter()
    evaluate(parts.model, parts.loss, few_loader, device)
    each = (time.perf_counter() - started) / len(few)
    cells = sum(x.size for name, x in few[0].items() if name in parts.model.modalities)
    count = min(0.7 * seconds / (PASSES * each), _CELLS / max(1, cells))
    return int(min(len(split), max(LEAST, count)))


class _Measurement:
    """Fills in a ``Measured`` step by step."""

    def __init__(
        self,
        parts: Assembly,
        split: FeatureSplit,
        total: int,
        device: torch.device,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.parts, self.model, self.device = parts, parts.model, device
        self.split, self.clock, self.progress = split, clock, progress
        self.loader = evaluation_loader(split, parts.config, data=_Kept(split))
        self.known: dict[str, Evaluation] = {}
        clean = self.evaluated(CLEAN)
        neuron: Any = parts.model.neuron_type
        self.result = Measured(len(split), total, clean, neuron.tags)

    def run(self) -> Measured:
        """All measurements, as long as there is time."""
        steps: Mapping[str, Callable[[], None]] = {
            "who carries it": self._carried,
            "accuracy by time step": self._by_step,
            "examples": self._examples,
            "cross-modal contribution": self._contribution,
            "semantic space": self._space,
            "robustness": self._curves,
            "energy": self._energy,
        }
        self.progress.stage("measuring", len(steps))
        for name, step in steps.items():
            if self.clock.left <= 0:
                self.result.omitted[name] = "time was up"
            else:
                step()
            self.progress.advance()
        return self.result

    def evaluated(self, disturbance: Disturbance) -> Evaluation:
        """The model under a corruption; once for each."""
        key = str(sorted(disturbance.settings().items()))
        if key not in self.known:
            given: Any = {"disturbance": disturbance}
            self.known[key] = evaluate(self.model, self.parts.loss, self.loader, self.device, **given)
        return self.known[key]

    def _carried(self) -> None:
        self.result.carried = carried(self.model.modalities, lambda given: self.evaluated(given).predictions)

    def _contribution(self) -> None:
        if len(self.split) > 1:
            self.result.contribution = contribution(self.model, self.split, self.device)

    def _batches(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for batch in self.loader:
            inputs = {name: batch[name].to(self.device) for name in self.model.modalities}
            yield inputs, batch["label"].to(self.device)

    def _by_step(self) -> None:
        hits: list[Tensor] = []
        with torch.no_grad(), seeds.generators_kept(self.device), trained_precision(self.model, self.device):
            for inputs, target in self._batches():
                found = hits_by_step(self.model(**inputs), target)
                if found is None:
                    self.result.omitted["accuracy by time step"] = "the read-out has no prediction by time step"
                    return
                hits.append(found)
        self.result.by_step = (torch.stack(hits).sum(0) / len(self.split)).tolist()

    def _space(self) -> None:
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad(), seeds.generators_kept(self.device), trained_precision(self.model, self.device):
            for inputs, _ in self._batches():
                features, self.result.aligned = representations(self.model, inputs)
                for name, x in features.items():
                    found.setdefault(name, []).append(x.float().cpu())
        self.result.space = {name: torch.cat(parts).numpy() for name, parts in found.items()}

    def _energy(self) -> None:
        self.result.profile = found = profile(self.model, self.loader, self.device)
        self.result.verdicts = verdicts(found, bounds(self.parts))

    def _examples(self) -> None:
        data = self.loader.dataset
        for index in chosen(self.result.evaluation):
            sample = data[index]
            inputs = {name: torch.as_tensor(sample[name])[None].to(self.device) for name in self.model.modalities}
            example = examine(self.model, inputs, int(sample["label"]), self.split.ids[index])
            self.result.examples.append(example)

    def _curves(self) -> None:
        """A curve is complete or left out."""
        result, known = self.result, self.result.carried
        amounts: Any = {"noise": (noisy, DECIBELS), "occlusion": (hidden, SHARES)}
        for corruption, (apply, values) in amounts.items():
            for modality in self.model.modalities:
                if self.clock.left <= 0 or known is None:
                    result.omitted["robustness"] = "time was up"
                    return
                others: Any = tuple(name for name in self.model.modalities if name != modality)
                alone = Disturbance(dropped=others)
                points = curve(self.evaluated, [(value, apply(CLEAN, modality, value)) for value in values])
                single = curve(self.evaluated, [(value, apply(alone, modality, value)) for value in values])
                rest = max((known.accuracy(name) for name in others), default=0.0)
                best = [max(point.accuracy, rest) for point in single] if others else []
                result.curves.append(Curve(corruption, modality, points, best))


def chosen(result: Evaluation) -> list[int]:
    """The samples to look at: the surest right and the surest wrong prediction, and the least sure one."""
    predictions = result.predictions
    sure = predictions.logits.softmax(1).amax(1)
    right = predictions.predicted == predictions.targets
    ranked: list[Sequence[int]] = [
        sure.where(right, -1.0).argsort(descending=True).tolist()[: int(right.sum())],
        sure.where(~right, -1.0).argsort(descending=True).tolist()[: int((~right).sum())],
        sure.argsort().tolist(),
    ]
    picked: list[int] = []
    for order in ranked:
        picked += [index for index in order if index not in picked][:1]
    return picked[:EXAMPLES]


def unavailable(error: UserError) -> str:
    """Why nothing could be measured, in a sentence."""
    return f"Not measured: {error}"
