"""The gate."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Fusion


class GatedFusion(Fusion):
    """a' = 2 g a, v' = 2 (1 - g) v with g = sigmoid(strength W [mean_N a; mean_N v]), a gate per step and channel.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes. W starts at zero, so that
    training starts from late fusion. After the gated multimodal unit, arXiv 1702.01992, without its tanh:
    streams of spikes are not negative.
    """

    class Config(ComponentConfig):
        strength: float = Field(1.0, gt=0, le=100, description="slope of the gate")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.strength = config.strength
        self.weigh = nn.Linear(2 * context.embed_dims, context.embed_dims)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        evidence = torch.cat([audio.mean(3), visual.mean(3)], dim=-1)
        gate = torch.sigmoid(self.strength * self.weigh(evidence)).unsqueeze(3)
        return Fused(2 * gate * audio, 2 * (1 - gate) * visual)
