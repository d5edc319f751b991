"""Unimodal models of the same depth: self-attention instead of a fusion."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from scmrl_plugins.core.interfaces import Context, Fused, Fusion, Modality
from scmrl_plugins.plugins.layers.attention import AttentionConfig, SpikingAttention


class Audio(Fusion):
    """a' = a + SSA(a), SSA spiking self-attention: ``audio [T, B, D, N] -> Fused``, vision unused."""

    class Config(AttentionConfig):
        pass

    modalities: ClassVar[tuple[Modality, ...]] = ("audio",)
    interacts = False

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.attention = SpikingAttention(context, **config.keywords())

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Fused:
        assert audio is not None
        return Fused(audio=audio + self.attention(audio, audio), visual=None)


class Visual(Audio):
    """v' = v + SSA(v), SSA spiking self-attention: ``visual [T, B, D, N] -> Fused``, audio unused."""

    modalities = ("visual",)

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Fused:
        assert visual is not None
        return Fused(audio=None, visual=visual + self.attention(visual, visual))
