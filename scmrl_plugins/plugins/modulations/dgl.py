"""Disentangled gradient learning (DGL)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import (
    MODALITIES,
    OTHER,
    ComponentConfig,
    Context,
    Gradients,
    Modality,
    Modulation,
    TrainingPass,
    TrainingStep,
)


class Disentangled(Modulation):
    """Encoders and backbones learn from alpha sum_m CE(z_m) alone, the rest of the model from its losses alone.

    z_m is the read-out of the streams with zeros for the other modality's, or, where the fusion lets the
    modalities interact, what the modality says alone. So a modality's encoder does not depend on how well the
    other one does. Source: arXiv 2507.10213, whose code has alpha 4 to 5 for CREMA-D.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"alone"})
    passes: ClassVar[tuple[int, int]] = (1, 2)

    class Config(ComponentConfig):
        alpha: float = Field(4.0, gt=0, description="weight of the unimodal losses")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.config = config

    def forward(self, batch: TrainingPass) -> Mapping[str, Tensor]:
        losses = torch.stack([batch.cross_entropy(self.logits(batch, name)) for name in MODALITIES])
        return {"joint": batch.objective(), "alone": self.config.alpha * losses.sum()}

    def logits(self, batch: TrainingPass, modality: Modality) -> Tensor:
        """z_m."""
        if batch.separate:
            return batch.read({OTHER[modality]: torch.zeros(())}).logits
        return batch.alone[modality]

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        return {**gradients["alone"], "rest": gradients["joint"]["rest"]}
