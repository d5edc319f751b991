"""Supervised contrast between the modalities: each sample finds all of its class."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.similarity import features, log_matches, normalise, same_class


class SupervisedContrast(Loss):
    """(L(a, v) + L(v, a)) / 2, L(a, v) = -mean_i mean_{p in P(i)} log softmax_j(a_i . v_j / temperature)[p].

    P(i) = {p: y_p = y_i}. The form is the paper's L_out: the mean over positives is outside of the logarithm.
    Anchors are one modality's features, contrasts are all of the other's, so that a sample's own partner is a
    positive and no feature meets its own modality. a and v are the residuals' means over time ``[B, D]``, brought
    to norm one, x / sqrt(|x|^2 + 1e-4): those of residuals that never fire stay zero.
    ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0; with all labels distinct it is ``infonce``. Raises
    ``UserError`` where the fusion leaves no residuals. Source: arXiv 2004.11362, there within one modality.
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
