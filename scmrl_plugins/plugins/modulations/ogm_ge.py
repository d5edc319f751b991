"""On-the-fly gradient modulation with generalisation enhancement (OGM-GE)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, Gradients, Modality, Modulation, TrainingPass, TrainingStep
from scmrl_plugins.plugins.modulations.base import Selective, add_scores, changed, ratios


class OnTheFlyGradients(Modulation):
    """g <- k_m g + n for the weights of modality m, n ~ N(0, (std(g) + 1e-8)^2) of each tensor.

    rho_m = s_m / s_other, s_m = sum_i softmax(z_m,i)[y_i] over the step, z_m what the modality says alone. For
    rho_m > 1, k_m = 1 - tanh(alpha rho_m); otherwise k_m = 1. So the modality that predicts better learns more
    slowly. n keeps the noise of the gradient, in both modalities; ``noise = false`` is OGM. Source: arXiv
    2203.15332, whose code has alpha 0.8 for CREMA-D and 0.1 for VGGSound, and acts in 50 of 100 epochs.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"alone"})

    class Config(Selective):
        alpha: float = Field(0.8, ge=0, description="strength: larger slows the better modality down more")
        noise: bool = Field(True, description="generalisation enhancement: add noise of the gradient's deviation")
        end: float = Field(0.5, ge=0, le=1, description="share of the epochs after which it acts no more")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.config = config

    def forward(self, batch: TrainingPass) -> Tensor:
        if self.config.applies(batch.step):
            with torch.no_grad():
                add_scores(batch, batch.alone)
        return batch.objective()

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        plain = super().combine(gradients, step)
        rho = ratios(step)
        if rho is None:
            return plain

        def change(modality: Modality, g: Tensor) -> Tensor:
            k = 1 - math.tanh(self.config.alpha * rho[modality]) if rho[modality] > 1 else 1.0
            if not self.config.noise:
                return k * g
            deviation = (g.std() if g.numel() > 1 else 0.0) + 1e-8
            noise = torch.randn(g.shape, dtype=g.dtype, generator=step.generator).to(g.device)
            return k * g + deviation * noise

        return changed(plain, self.config.parameters, change)
