"""InfoNCE between the modalities."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.similarity import features, log_matches, normalise


class InfoNCE(Loss):
    """-mean_i( log softmax_j(a_i . v_j / temperature)[i] + log softmax_j(v_i . a_j / temperature)[i] ) / 2.

    a and v are the means of the residuals over time ``[B, D]``, normalised by x / sqrt(|x|^2 + 1e-4), so that
    silent residuals stay zero. ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. The only positive of a sample
    is its other modality; labels are not used. Raises ``UserError`` if the fusion returns no residuals. Source:
    CLIP, arXiv 2103.00020, where the temperature is learned and starts at 0.07. Here it is fixed.
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
