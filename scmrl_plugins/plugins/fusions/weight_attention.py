"""Weight attention: each modality is scaled by one number per time step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Fusion
from scmrl_plugins.plugins.layers.linear import linear


class WeightAttention(Fusion):
    """a' = w_a a with w_a = W2 (W1 [mean_N a; mean_N v] + b1) + b2, and v' = w_v v with separate weights.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes; w is one number
    per sample and time step, of either sign. The weighted streams are also the residuals that a loss may align. A
    baseline of arXiv 2502.12488, after its code.
    """

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.audio_weight = StepWeight(context.embed_dims)
        self.visual_weight = StepWeight(context.embed_dims)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        weighted = {
            "audio": self.audio_weight(audio, visual) * audio,
            "visual": self.visual_weight(visual, audio) * visual,
        }
        return Fused(**weighted, residuals=weighted)


class StepWeight(nn.Module):
    """w of one modality: ``own [T, B, D, N], other [T, B, D, M] -> [T, B, 1, 1]``."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.reduce = linear(2 * dims, dims)
        self.weigh = linear(dims, 1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        both = torch.cat([own.mean(3), other.mean(3)], dim=-1)
        return self.weigh(self.reduce(both)).unsqueeze(-1)
