"""One step of the optimizer, on one batch or on several whose gradients are accumulated."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from scmrl_plugins.core.config.sections import DataConfig
from scmrl_plugins.core.data.loading import Batch
from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.core.parallel.processes import SINGLE_PROCESS, Processes
from scmrl_plugins.core.training.mixing import mix

if TYPE_CHECKING:
    from accelerate import Accelerator


class Plain:
    """What a step needs of an ``Accelerator``, for one process; without ``autocast``, in full precision."""

    scaler = None

    def __init__(
        self, autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    ) -> None:
        self.autocast = autocast

    def backward(self, loss: Tensor, **options: Any) -> None:
        loss.backward(**options)

    def no_sync(self, _model: nn.Module) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def clip_grad_norm_(self, parameters: Iterable[Tensor], largest: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, largest)


@dataclass
class StepResult:
    """The samples of a step; loss, terms and correct predictions summed over them; the norm of the gradient.

    ``not_finite`` says what was not finite, if anything. In that case the weights did not change.
    """

    samples: int
    loss_sum: float = 0.0
    term_sums: dict[str, float] = field(default_factory=dict)
    correct: float = 0.0
    gradient_norm: float | None = None
    not_finite: str = ""

    @property
    def loss(self) -> float:
        """The mean over the samples."""
        return self.loss_sum / self.samples

    @property
    def accuracy(self) -> float:
        """The share of correct predictions."""
        return self.correct / self.samples


@dataclass(frozen=True)
class Targets:
    """The classes ``[n]`` of a complete batch, and, of one that is mixed, those of its partners.

    ``share`` is that of the samples themselves.
    """

    own: Tensor
    partner: Tensor | None = None
    share: float = 1.0

    def loss(self, objective: nn.Module, output: ModelOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over both classes of each sample by their shares, and the terms of the samples' own."""
        loss, terms = objective(output, self.own)
        if self.partner is not None:
            partner_loss, _ = objective(output, self.partner)
            loss = torch.lerp(partner_loss, loss, self.share)
        return loss, terms


class Step:
    """``step(batches) -> StepResult``: forward and backward passes, then one update of the weights.

    It needs a model, an objective ``(ModelOutput, target) -> (loss, {name: term})``, and the optimizer of both.
    ``clip_grad`` is the largest norm of the gradient; ``mixing`` says how pairs of samples are mixed. With an
    ``accelerator`` the model and the optimizer are those that it prepared; of several ``processes`` each brings
    its share of every batch, and all compute the loss of the complete batch.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: nn.Module,
        optimizer: Any,
        *,
        clip_grad: float | None = None,
        mixing: DataConfig | None = None,
        accelerator: Accelerator | Plain | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.clip_grad, self.mixing = clip_grad, mixing or DataConfig()
        self.accelerator = accelerator or Plain()
        self.processes = processes
        self.parameters = [*dict.fromkeys([*model.parameters(), *objective.parameters()])]
        self.device = self.parameters[0].device

    def __call__(
        self, batches: Sequence[Batch], sizes: Sequence[int] | None = None, draw: Sequence[int] = (0,)
    ) -> StepResult:
        """Train on the batches, weighted by their samples.

        ``sizes``: samples of each batch in all processes together; by default those in this process. ``draw``: the
        numbers that the random numbers of mixing follow from.
        """
        sizes = sizes or [len(batch["label"]) for batch in batches]
        result = StepResult(samples=sum(sizes))
        self._start(draw)
        for index, (batch, n) in enumerate(zip(batches, sizes, strict=True)):
            if self.processes.any(not _finite(batch)):
                return self._abandon(result, "an input is not finite")
            last = index == len(batches) - 1
            share = n / result.samples if len(batches) > 1 else None
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                value = self._learn(batch, n, share, [*draw, index], result)
            if not math.isfinite(value):
                return self._abandon(result, f"the loss is {value}")
            result.loss_sum += value * n
        self.processes.average_statistics(self.model)
        self._combine()
        result.gradient_norm = self._gradient_norm()
        scaler = self.accelerator.scaler
        if scaler is None and result.gradient_norm is not None and not math.isfinite(result.gradient_norm):
            return self._abandon(result, f"the norm of the gradient is {result.gradient_norm}")
        self.optimizer.step()
        self.optimizer.zero_grad()
        if scaler is not None and self.optimizer.step_was_skipped:
            # The scale of the loss was too large, and is now smaller, unless that was not the reason.
            result.gradient_norm = None
            if (scale := scaler.get_scale()) < 1:
                result.not_finite = f"the gradient is not finite, although the loss is scaled by {scale:g} only"
        return result

    def _start(self, draw: Sequence[int]) -> None:
        """Called before the batches of a step."""

    def _combine(self) -> None:
        """Called between the backward passes of a step and its update."""

    def _learn(self, batch: Batch, n: int, share: float | None, draw: Sequence[int], result: StepResult) -> float:
        """Forward and backward pass of a batch; its loss, with no backward pass if that is not finite.

        ``share`` is that of the batch in the loss of the step, none for all. Terms and correct predictions are
        added to the result.
        """
        inputs, targets = self._inputs(batch, n, draw)
        output = self.processes.gather_output(self.model(**inputs), n)
        loss, terms = targets.loss(self.objective, output)
        self._count(result, output, targets, terms)
        if math.isfinite(value := loss.item()):
            self.accelerator.backward(loss if share is None else loss * share)
        return value

    def _inputs(self, batch: Batch, n: int, draw: Sequence[int]) -> tuple[Batch, Targets]:
        """The inputs of this process, mixed as configured, and the targets of the complete batch."""
        inputs = {key: value.to(self.device) for key, value in batch.items()}
        target = inputs.pop("label")
        mixed = mix(inputs, self.mixing, np.random.default_rng(draw))
        targets = self.processes.gather(target, n)
        if not mixed:
            return inputs, Targets(targets)
        own, total = self.processes.sum(torch.tensor([mixed.kept, mixed.total], dtype=torch.float64))
        return mixed.inputs, Targets(targets, self.processes.gather(target[mixed.partner], n), float(own / total))

    def _count(
        self, result: StepResult, output: ModelOutput, targets: Targets, terms: Mapping[str, Tensor]
    ) -> None:
        """Add the terms of a batch and its correct predictions to the result."""
        result.correct += float((output.logits.argmax(1) == targets.own).sum())
        for name, term in terms.items():
            value = term.item() * len(targets.own)
            result.term_sums[name] = result.term_sums.get(name, 0.0) + value

    def _abandon(self, result: StepResult, not_finite: str) -> StepResult:
        self.optimizer.zero_grad()
        result.not_finite = not_finite
        return result

    def _gradient_norm(self) -> float | None:
        """The norm of the gradient, clipped if so configured; ``None`` if a scaler checks the gradient itself."""
        if self.clip_grad:
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.clip_grad)
            return None if norm is None else float(norm)
        if self.accelerator.scaler is not None:
            return None  # it checks the gradient itself
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return float(nn.utils.get_total_norm(gradients))


def _finite(batch: Batch) -> bool:
    """Whether the inputs are finite. A sum is a single pass, without a copy."""
    return all(bool(x.sum(dtype=torch.float32).isfinite()) for x in batch.values() if x.is_floating_point())
