"""Supervised contrastive loss between the modalities."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.similarity import features, log_matches, normalise, same_class


class SupervisedContrast(Loss):
    """(L(a, v) + L(v, a)) / 2, L(a, v) = -mean_i mean_{p in P(i)} log softmax_j(a_i . v_j / temperature)[p].

    P(i) = {p: y_p = y_i}. This is L_out of the paper: the mean over positives is outside the logarithm. Anchors
    are from one modality and contrasts from the other. a and v are the mean residuals over time ``[B, D]``,
    normalised by x / sqrt(|x|^2 + 1e-4), so that silent residuals stay zero. ``(ModelOutput, target [B]) ->
    scalar``, 0 for B = 0. With distinct labels it equals ``infonce``. Raises ``UserError`` if the fusion returns
    no residuals. Source: arXiv 2004.11362, within one modality.
    """

    class Config(ComponentConfig):
        temperature: float = Field(0.1, gt=0, description="temperature of the softmax")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.temperature = config.temperature

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        audio, visual = map(normalise, features(output, "supcon"))
        there = log_matches(audio, visual, self.temperature)
        back = log_matches(visual, audio, self.temperature)
        positive = same_class(target).to(there.dtype)
        each = (positive * (there + back)).sum(1) / positive.sum(1)
        return -each.sum() / max(1, 2 * len(target))
