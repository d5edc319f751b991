"""InfoNCE between the modalities: each sample finds its own partner."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.similarity import features, log_matches, normalise


class InfoNCE(Loss):
    """-mean_i( log softmax_j(a_i . v_j / temperature)[i] + log softmax_j(v_i . a_j / temperature)[i] ) / 2.

    a and v are the residuals' means over time ``[B, D]``, brought to norm one, x / sqrt(|x|^2 + 1e-4): those of
    residuals that never fire stay zero. ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. A sample's own
    partner is its one positive, others of its class are negatives; the labels are not used. Raises ``UserError``
    where the fusion leaves no residuals. Source: CLIP, arXiv 2103.00020, where the temperature is learned,
    from 0.07; here it is fixed.
    """

    class Config(ComponentConfig):
        temperature: float = Field(0.07, gt=0, description="temperature of the softmax")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.temperature = config.temperature

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        audio, visual = map(normalise, features(output, "infonce"))
        there = log_matches(audio, visual, self.temperature).diagonal()
        back = log_matches(visual, audio, self.temperature).diagonal()
        return -(there + back).sum() / max(1, 2 * len(target))
