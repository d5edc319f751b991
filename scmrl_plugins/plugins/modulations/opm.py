"""On-the-fly prediction modulation (OPM): dropout of the better modality."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES, OTHER, Context, Modulation, TrainingPass
from scmrl_plugins.plugins.modulations.base import Scheduled
from scmrl_plugins.registry import UserError


class PredictionModulation(Modulation):
    """The stream of the better modality is 0 for a share q of the samples, and both are divided by 1 - theta.

    rho = s_m / s_other > 1 for the better one, s_m = sum_i softmax(z_m,i)[y_i] of the batch, z_m what the
    modality says alone; q = min(1, rate (1 + strength tanh(rho - 1))), and theta = q / 2 is the mean over both
    modalities of the share that is lost. In a share ``probability`` of the batches; the others are as they are.
    Only one modality is better, so no sample loses both. ``data.modality_dropout`` drops inputs at a fixed rate
    and can be combined with it. Source: On-the-fly Modulation for Balanced Multimodal Learning (T-PAMI 2024).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"alone"})

    class Config(Scheduled):
        rate: float = Field(0.5, ge=0, lt=1, description="q for modalities that are nearly equal")
        strength: float = Field(0.5, ge=0, description="how much q grows with the lead of the better modality")
        probability: float = Field(0.7, ge=0, le=1, description="share of the batches")
        start: float = Field(0.05, ge=0, le=1, description="share of the epochs after which it begins to act")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        if context.joint:
            raise UserError(
                "modulation 'opm' drops the stream of a modality, and this fusion has one joint stream: choose "
                "another fusion, such as 'late'"
            )
        self.config = config

    def forward(self, batch: TrainingPass) -> Tensor:
        config, generator = self.config, batch.step.generator
        drawn = float(torch.rand((), generator=generator)) < config.probability
        if not (drawn and config.applies(batch.step)):
            return batch.objective()
        with torch.no_grad():
            scores = {name: float(batch.of_target(batch.alone[name].softmax(1)).sum()) for name in MODALITIES}
        better = max(MODALITIES, key=lambda name: scores[name])
        if scores[better] == scores[OTHER[better]]:
            return batch.objective()
        ratio = scores[better] / max(scores[OTHER[better]], 1e-30)
        q = min(1.0, config.rate * (1 + config.strength * math.tanh(ratio - 1)))
        logits = batch.output.logits
        kept = (torch.rand(len(logits), generator=generator) >= q).to(logits)
        scale = logits.new_tensor(1 / (1 - q / 2))
        return batch.objective(batch.read({better: kept * scale, OTHER[better]: scale}))
