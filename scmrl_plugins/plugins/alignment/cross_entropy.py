"""Cross-entropy of the prediction and of every further head."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ComponentConfig, Context, ModelOutput


class CrossEntropy(nn.Module):
    """-mean_i log softmax(logits_i)[y_i], and the same of each auxiliary head, summed.

    ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. Targets are smoothed in training mode only.
    """

    class Config(ComponentConfig):
        label_smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing in training")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        heads = [output.logits, *output.aux_logits.values()]
        if not len(target):
            return torch.stack([logits.sum() for logits in heads]).sum()  # 0, and part of the graph
        return torch.stack([F.cross_entropy(logits, target, label_smoothing=smoothing) for logits in heads]).sum()
