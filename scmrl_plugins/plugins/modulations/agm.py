"""Adaptive gradient modulation (AGM)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import (
    MODALITIES,
    OTHER,
    Context,
    Gradients,
    Modality,
    ModelOutput,
    Modulation,
    TrainingPass,
    TrainingStep,
)
from scmrl_plugins.plugins.modulations.base import Scheduled


class AdaptiveGradients(Modulation):
    """The gradient that reaches phi_m, the contribution of modality m to the logits, times kappa_m.

    phi_a = (F(a, v) - F(0, v) + F(a, 0)) / 2, likewise phi_v, so that phi_a + phi_v = F(a, v), with silence or
    black for 0. With s_m = mean_i min(-log softmax(phi_m,i)[y_i], -log 1e-8) of the batch, and its mean S_m over
    all steps before, kappa_m = exp(alpha min(tau_m - r_m, 10)), where r_m = exp(s_other - s_m) and tau_m =
    exp(S_other - S_m). With g the loss's gradient at the logits, the weights get

        g [ (kappa_a + kappa_v) / 2 dF(a, v) + (kappa_a - kappa_v) / 2 (dF(a, 0) - dF(0, v)) ]

    F(a, 0) and F(0, v) are computed in evaluation mode. It works with any fusion and loss of the logits. The
    clipping that the public code adds is ``train.clip_grad``. Source: arXiv 2308.07686.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    passes: ClassVar[tuple[int, int]] = (3, 1)

    class Config(Scheduled):
        alpha: float = Field(1.0, ge=0, description="strength: 0 changes nothing")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("means", torch.zeros(len(MODALITIES)))
        self.steps: Tensor
        self.means: Tensor
        """S_m, audio first."""

    def forward(self, batch: TrainingPass) -> Tensor:
        if not self.config.applies(batch.step):
            return batch.objective()
        without = {name: batch.without(name) for name in MODALITIES}
        scores = {name: self.score(batch, without, name) for name in MODALITIES}
        batch.step.add("samples", torch.tensor(len(batch.output.logits)))
        for name, score in scores.items():
            batch.step.add(name, score * len(batch.output.logits))
        kappa = {name: self.factor(scores, name) for name in MODALITIES}
        both = (kappa["audio"] + kappa["visual"]) / 2
        apart = (kappa["audio"] - kappa["visual"]) / 2

        def modulated(whole: Tensor, audio: Tensor, visual: Tensor) -> Tensor:
            """The value of ``whole``, with a gradient that reaches all three."""
            change = both * whole + apart * (audio - visual)
            return whole.detach() + change - change.detach()

        output, audio, visual = batch.output, without["visual"], without["audio"]
        changed = dataclasses.replace(output, logits=modulated(output.logits, audio.logits, visual.logits))
        steps = output.step_logits, audio.step_logits, visual.step_logits
        if steps[0] is not None and steps[1] is not None and steps[2] is not None:
            changed.step_logits = modulated(steps[0], steps[1], steps[2])
        return batch.objective(changed)

    def score(self, batch: TrainingPass, without: Mapping[Modality, ModelOutput], modality: Modality) -> Tensor:
        """s_m of the batch."""
        alone, other = without[OTHER[modality]].logits, without[modality].logits
        phi = (batch.output.logits.detach() - other.detach() + alone.detach()) / 2
        logits = phi.to(torch.promote_types(phi.dtype, torch.float32))
        return -batch.of_target(logits.log_softmax(1).clamp_min(math.log(1e-8))).mean()

    def factor(self, scores: Mapping[Modality, Tensor], modality: Modality) -> float:
        """kappa_m."""
        means = dict(zip(MODALITIES, self.means.tolist(), strict=True))
        other = OTHER[modality]
        tau = math.exp(means[other] - means[modality])
        ratio = math.exp(float(scores[other]) - float(scores[modality]))
        return math.exp(self.config.alpha * min(tau - ratio, 10.0))

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        if "samples" in step.sums:
            self.steps += 1
            scores = torch.stack([step.sums[name] for name in MODALITIES]) / step.sums["samples"]
            self.means += (scores.to(self.means) - self.means) / self.steps
        return super().combine(gradients, step)
