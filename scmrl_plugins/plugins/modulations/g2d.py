"""Gradient-guided distillation (G2D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import (
    MODALITIES,
    OTHER,
    Context,
    Gradients,
    Modality,
    Modulation,
    TrainingPass,
    TrainingStep,
)
from scmrl_plugins.plugins.modulations.base import Selective, add_scores, changed, ratios


class GuidedDistillation(Modulation):
    """L + sum_m [ distillation KL(softmax(t_m / T) | softmax(z / T)) T^2 + features mean (f_m - f_m^t)^2 ].

    t_m and f_m^t are logits and features of the teachers, runs of one modality alone. Until ``end``, the encoder
    and backbone of the modality whose teacher gives the right classes the higher probabilities, sum_i
    softmax(t_m,i)[y_i] over the step, have no gradient; afterwards both learn. The momentum and weight decay of
    the optimizer still move them. Source: arXiv 2506.21514, with gating in 150 of 300 epochs and all weights 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teachers"})

    class Config(Selective):
        teachers: dict[Modality, str] = Field(
            default_factory=dict,
            description="the teachers, runs of one modality each, as "
            '{ audio = "runs/audio", visual = "runs/visual" }',
        )
        distillation: float = Field(1.0, ge=0, description="weight of the teachers' predictions")
        features: float = Field(1.0, ge=0, description="weight of the teachers' features")
        temperature: float = Field(1.0, gt=0, description="T, temperature of the predictions")
        end: float = Field(0.5, ge=0, le=1, description="share of the epochs after which both modalities learn")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.config = config

    @property
    def teachers(self) -> Mapping[Modality, str]:
        return self.config.teachers

    def forward(self, batch: TrainingPass) -> Tensor:
        taught, config = batch.teachers, self.config
        if config.applies(batch.step):
            add_scores(batch, {name: taught[name].logits for name in MODALITIES})
        loss, t = batch.objective(), config.temperature
        logits = batch.output.logits
        student = (logits.to(torch.promote_types(logits.dtype, torch.float32)) / t).log_softmax(1)
        for name in MODALITIES:
            teacher = (taught[name].logits / t).log_softmax(1)
            divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
            distance = F.mse_loss(batch.features[name], taught[name].features)
            loss = loss + config.distillation * t**2 * divergence + config.features * distance
        return loss

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        plain = super().combine(gradients, step)
        rho = ratios(step)
        if rho is None:
            return plain
        better: Modality = max(MODALITIES, key=lambda name: rho[name])
        if rho[better] == rho[OTHER[better]]:
            return plain
        return changed(plain, self.config.parameters, lambda name, g: torch.zeros_like(g) if name == better else g)
