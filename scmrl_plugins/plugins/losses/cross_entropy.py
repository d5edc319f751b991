"""Cross-entropy of the prediction and of the auxiliary heads."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.precision import full


class SmoothedConfig(ComponentConfig):
    """The setting of all cross-entropy losses."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing in training")


class Smoothed(Loss):
    """A loss of cross-entropies with targets that are smoothed in training mode only."""

    def __init__(self, config: SmoothedConfig, context: Context) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing

    def each(self, logits: Tensor, target: Tensor) -> Tensor:
        """-log softmax(logits_i)[y_i] of every sample: ``[B, K], [B] -> [B]``, in float32 or better."""
        return self._cross_entropy(logits, target, "none")

    def mean(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean over samples: ``[B, K], [B] -> scalar``, 0 and part of the graph for B = 0."""
        return self._cross_entropy(logits, target, "mean") if len(target) else full(logits).sum()

    def _cross_entropy(self, logits: Tensor, target: Tensor, reduction: str) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(full(logits), target, label_smoothing=smoothing, reduction=reduction)


class CrossEntropy(Smoothed):
    """-mean_i log softmax(logits_i)[y_i], plus the same for each auxiliary head.

    ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. Targets are smoothed in training mode only. Without
    ``heads``, only the prediction counts, for use with a loss on the auxiliary heads such as ``balance``.
    """

    class Config(SmoothedConfig):
        heads: bool = Field(True, description="include the auxiliary heads")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self.heads = config.heads

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        heads = [output.logits, *(output.aux_logits.values() if self.heads else ())]
        return torch.stack([self.mean(logits, target) for logits in heads]).sum()
