"""Spiking cross-attention that replaces the stream, without a residual connection."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, Fused
from scmrl_plugins.plugins.fusions.base import TwoWay, TwoWayConfig
from scmrl_plugins.plugins.layers.attention import AttentionConfig, PositionedAttention, SpikingAttention


class SCA(TwoWay):
    """a' = SSA(a, v), v' = SSA(v, a): queries from one modality, keys and values from the other.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes. The visual scores have a
    bias by relative position and a neuron, LIF(q k^T + B). The published code draws B at random on every call;
    here it is a learned table. A baseline of arXiv 2502.12488.
    """

    class Config(AttentionConfig, TwoWayConfig):
        reach: int = Field(
            7, ge=0, le=63, description="distance in tokens from which relative positions share a bias"
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config.partner)
        self.audio_from_visual = SpikingAttention(context, **config.keywords())
        self.visual_from_audio = PositionedAttention(context, **config.keywords(), reach=config.reach)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        streams = self.directions(audio, visual)
        return Fused(streams["audio"], streams["visual"])
