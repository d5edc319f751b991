"""Spiking cross-attention whose result takes the stream's place."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Fusion
from scmrl_plugins.plugins.layers.attention import PositionedAttention, SpikingAttention


class SCA(Fusion):
    """a' = SSA(a, v), v' = SSA(v, a): queries of one modality, keys and values of the other, nothing added.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes. Vision's scores get a bias by
    relative position and a neuron, LIF(q k^T + B). The published code draws B at random on every call; here it is
    a learned table. A baseline of the table in arXiv 2502.12488.
    """

    class Config(ComponentConfig):
        reach: int = Field(7, ge=0, le=63, description="tokens at which relative positions stop being told apart")
        attention_threshold: float | None = Field(
            None, description="threshold of the neuron on the attention's result; none: the neuron's own"
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.audio_from_visual = SpikingAttention(context, config.attention_threshold)
        self.visual_from_audio = PositionedAttention(context, config.attention_threshold, reach=config.reach)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(self.audio_from_visual(audio, visual), self.visual_from_audio(visual, audio))
