"""Cross-modal contribution: what crosses between the modalities in a fusion, and what the prediction makes of it.

For each direction, such as what the audio stream takes from vision, r is its residual: what the fusion adds to the
stream, for a' = a + alpha r that is alpha r; or the joint stream, for a fusion that returns one.

- ``rate``: share of the elements of r that are not 0, for spikes the firing rate; ``dead`` below 0.5 %
- ``partner_share``: E|r' - r|^2 / (2 Var r), with r' the residual with another sample's partner: the share of the
  variance of r that is due to the partner, alone or together with the own stream (total Sobol index). None if r
  does not vary
- ``shuffled``: change of accuracy, in points, with another sample's partner inside the fusion; ``shuffled_kl``:
  divergence of that prediction q from the model's p, KL(p | q) in nats. They show dependence on the partner
- ``mean``, ``zero``: change of accuracy, in points, with the interaction replaced by its mean over the split, or
  by 0. The interaction is r, or what a joint stream j(own, partner) has beyond j(own, 0). They show what it is
  worth to the model as it was trained

The other direction and the inputs of both streams stay as they are. Blocks at several scales (``fusion.between``)
count together, and a change at one scale is carried on to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Batch, EvaluationData, Loader
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import CLEAN, corrupted_inputs, trained_precision
from scmrl_plugins.core.evaluation.intervention import DIRECTIONS, Call, Direction, Pass, difference
from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.measure.operations import batch_statistics
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system import seeds
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

DEAD = 0.005
"""The rate below which a residual is dead."""

CHANGES = ("shuffled", "mean", "zero")

Contribution = dict[str, dict[str, Any]]

HEADER = ("direction", "rate", "partner share", "shuffled", "shuffled, KL", "mean", "zero")
"""Of ``rows``."""


def derangement(n: int, seed: int) -> np.ndarray:
    """The partner of each of n samples, ``[n]``: a random cyclic permutation, so none is its own for n > 1."""
    order = np.random.default_rng([seed, n]).permutation(n)
    partner = np.empty(n, dtype=np.int64)
    partner[order] = np.roll(order, -1)
    return partner


@torch.no_grad()
def contribution(
    model: AudioVisualModel,
    split: FeatureSplit,
    device: torch.device,
    *,
    disturbance: Disturbance = CLEAN,
    seed: int = 0,
    progress: Progress | None = None,
    reading: Callable[[Loader], Loader] = lambda loader: loader,
) -> Contribution:
    """The contribution by direction, ``{"audio_from_visual": {"rate": ...}, "visual_from_audio": {...}}``.

    In evaluation mode; the modules return to the mode they were in, and torch's generators to their state.
    ``seed`` draws the partners from the split, and the corruptions of ``disturbance`` as ``evaluate`` does.
    Nothing depends on the batches. ``reading`` turns a loader of inputs into one of what ``model`` takes, such as
    tokens. Empty for a fusion of one modality. Raises ``UserError`` for a split of less than two samples.
    """
    if set(model.modalities) != set(MODALITIES):
        return {}
    if len(split) < 2:
        raise UserError("a contribution needs at least two samples, which exchange partners: use a larger split")
    indices = np.arange(len(split))
    loaders = [reading(_loader(model, split, order)) for order in (indices, derangement(len(split), seed))]
    progress = progress or Progress.silent()
    progress.stage("contribution", 2 * len(loaders[0]))
    training = model.training
    model.eval()
    try:
        with seeds.generators_kept(device), trained_precision(model, device):
            moments: list[_Moments] = []
            for batch in loaders[0]:
                found = _pass(model, batch, loaders[0], device, disturbance, seed)
                moments = moments or [_Moments(one) for one in DIRECTIONS if found.has(one)]
                for one in moments:
                    one.add(found)
                progress.advance()
            effects = [_Effects(one) for one in moments]
            for batch, others in zip(*loaders, strict=True):
                found = _pass(model, batch, loaders[0], device, disturbance, seed)
                partner = _pass(model, others, loaders[1], device, disturbance, seed)
                for effect in effects:
                    effect.add(found, [call.before for call in partner.calls], batch["label"])
                progress.advance()
    finally:
        model.train(training)
    return {effect.direction.name: effect.figures() for effect in effects}


@torch.no_grad()
def crossing(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> Contribution:
    """Only ``rate``, ``dead`` and ``partner_share``, on one batch, whose samples exchange partners in a circle.

    In training mode, so that batch norm uses the batch itself; running statistics and generators keep their
    values.
    """
    if set(model.modalities) != set(MODALITIES):
        return {}
    device = next(iter(inputs.values())).device
    with batch_statistics(model), seeds.generators_kept(device):
        found = Pass(model, inputs)
        partners = [{name: x.roll(1, dims=1) for name, x in call.before.items()} for call in found.calls]
        figures = {}
        for direction in filter(found.has, DIRECTIONS):
            moments = _Moments(direction)
            moments.add(found)
            effects = _Effects(moments)
            effects.shuffle(found, partners)
            figures[direction.name] = effects.residual()
    return figures


def crosses(figures: Mapping[str, Any]) -> bool:
    """Whether a direction carries anything: its residual is not dead, and part of it is due to the partner."""
    return not figures["dead"] and (figures["partner_share"] or 0) > 1e-6


def warning(model: AudioVisualModel, directions: Contribution, *, trained: bool = True) -> str | None:
    """A line where nothing crosses between two modalities, with the remedy; none where something does."""
    if not directions or any(map(crosses, directions.values())):
        return None
    section = model.config.fusion
    subject = f"nothing crosses between the modalities in fusion {section.name!r}"
    if not model.fusion.interacts:
        return f"{subject}, by design: choose another for an interaction"
    rates = ", ".join(
        f"{name.replace('_', ' ')} {figures['rate']:.2%}" + " (the partner has no effect)" * (not figures["dead"])
        for name, figures in directions.items()
    )
    scaled = section.options.get("attention_scale", "auto") != "auto"
    remedy = "set fusion.attention_scale=auto" if scaled else "lower neuron.threshold"
    rest = ", or train with more data or steps" if trained else ", or see whether training changes it"
    return f"{subject}: residual rates are {rates}, dead below {DEAD:.1%}; {remedy}{rest}"


def rows(directions: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The contribution for a table with ``HEADER``; changes of accuracy are in points."""
    return [
        (
            name.replace("_", " "),
            f"{figures['rate']:.2%}" + " (dead)" * figures["dead"],
            "undefined" if figures["partner_share"] is None else f"{figures['partner_share']:.3f}",
            f"{figures['shuffled']:+.1f}",
            f"{figures['shuffled_kl']:.4f}",
            f"{figures['mean']:+.1f}",
            f"{figures['zero']:+.1f}",
        )
        for name, figures in directions.items()
    ]


def _loader(model: AudioVisualModel, split: FeatureSplit, order: np.ndarray) -> Loader:
    size = model.config.train.batch_size
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    return Loader(EvaluationData(split), model.config, batches)


class _Moments:
    """Sums over the samples of a split for one direction, of its residuals r and its interactions."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.samples = self.active = self.elements = 0
        self.squares = 0.0
        self.sums: list[Tensor] = []
        self.interactions: list[Tensor] = []
        """By block, ``[T, D, N]``."""

    def add(self, found: Pass) -> None:
        """Add the samples of a batch."""
        direction = self.direction
        self.samples += len(found.logits)
        residuals, interactions = [], []
        for call in found.calls:
            own, partner = call.before[direction.stream], call.before[direction.partner]
            residual = direction.residual(own, call.fused)
            without = direction.without(call.block, own, partner, call.fused)
            self.active += int(residual.count_nonzero())
            self.elements += residual.numel()
            residuals.append(residual.cpu().double())
            interactions.append(difference(direction.result(call.fused), without).cpu().double().sum(1))
        self.squares += sum(float(residual.square().sum()) for residual in residuals)
        self.sums = _added(self.sums, [residual.sum(1) for residual in residuals])
        self.interactions = _added(self.interactions, interactions)

    @property
    def variance(self) -> float:
        """The sum over all elements of their variance over samples; 0 where it is rounding."""
        n = self.samples
        spread = self.squares - sum(float(total.square().sum()) for total in self.sums) / n
        return spread / (n - 1) if spread > 1e-9 * self.squares else 0.0

    @property
    def means(self) -> list[Tensor]:
        """By block, the mean of the interaction over samples, ``[T, 1, D, N]``."""
        return [total.div(self.samples).float().unsqueeze(1) for total in self.interactions]


def _added(sums: list[Tensor], terms: list[Tensor]) -> list[Tensor]:
    return [total + term for total, term in zip(sums, terms, strict=True)] if sums else terms


class _Effects:
    """What changes in the residual and in the predictions of a split when one direction is changed."""

    def __init__(self, moments: _Moments) -> None:
        self.moments, self.direction, self.means = moments, moments.direction, moments.means
        self.squares = self.divergence = 0.0
        self.correct: Counter[str] = Counter()

    def shuffle(self, found: Pass, partners: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The logits of a batch with the streams of other samples, by block, as partners."""
        direction = self.direction

        def shuffled(number: int, call: Call, own: Tensor) -> Tensor:
            fused = direction.call(call.block, own, partners[number][direction.partner])
            change = direction.residual(own, fused) - direction.residual(call.before[direction.stream], call.fused)
            self.squares += float(change.cpu().double().square().sum())
            return direction.result(fused)

        return found.logits_with(direction, shuffled)

    def add(self, found: Pass, partners: Sequence[Mapping[str, Tensor]], target: Tensor) -> None:
        """Add the samples of a batch with labels ``target [B]``."""
        direction = self.direction

        def zero(_number: int, call: Call, own: Tensor) -> Tensor:
            return direction.without(call.block, own, call.before[direction.partner], call.fused)

        def mean(number: int, call: Call, own: Tensor) -> Tensor:
            return zero(number, call, own) + self.means[number].to(own)

        predicted = {
            "model": found.logits,
            "shuffled": self.shuffle(found, partners),
            "mean": found.logits_with(direction, mean),
            "zero": found.logits_with(direction, zero),
        }
        for name, logits in predicted.items():
            self.correct[name] += int((logits.argmax(1).cpu() == target).sum())
        log_p, log_q = (predicted[name].cpu().double().log_softmax(1) for name in ("model", "shuffled"))
        self.divergence += float((log_p.exp() * (log_p - log_q)).sum())

    def residual(self) -> dict[str, Any]:
        """``rate``, ``dead`` and ``partner_share``."""
        moments = self.moments
        rate, spread = moments.active / moments.elements, 2 * moments.samples * moments.variance
        return {"rate": rate, "dead": rate < DEAD, "partner_share": self.squares / spread if spread else None}

    def figures(self) -> dict[str, Any]:
        """The contribution of the direction."""
        n = self.moments.samples
        points = {name: 100 * (self.correct[name] - self.correct["model"]) / n for name in CHANGES}
        return {**self.residual(), **points, "shuffled_kl": self.divergence / n}


def _pass(
    model: AudioVisualModel,
    batch: Batch,
    loader: Loader,
    device: torch.device,
    disturbance: Disturbance,
    seed: int,
) -> Pass:
    """A batch through the model."""
    inputs = corrupted_inputs(batch, loader, device, disturbance, seed)
    torch.manual_seed(seeds.mix(seed, int(batch["index"][0])))
    return Pass(model, inputs)
