"""The semantic alignment optimisation of S-CMRL."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.similarity import features, log_matches, same_class


class SemanticAlignment(Loss):
    """-mean_{i,j}( 1[y_i = y_j] log softmax_j(a_i . v_j / temperature) ), a and v the mean residuals [B, D].

    ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. As published, the mean is over all B^2 pairs, the
    softmax is over vision only, and features are not normalised. Raises ``UserError`` if the fusion returns no
    residuals. Source: arXiv 2502.12488.
    """

    class Config(ComponentConfig):
        temperature: float = Field(0.07, gt=0, description="temperature of the softmax")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.temperature = config.temperature

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        similarity = log_matches(*features(output, "sao"), self.temperature)
        same = same_class(target)
        return -torch.where(same, similarity, torch.zeros_like(similarity)).sum() / max(1, same.numel())
