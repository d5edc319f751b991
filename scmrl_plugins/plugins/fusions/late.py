"""Late fusion: the modalities interact only in the read-out."""

from __future__ import annotations

from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Fusion


class Late(Fusion):
    """a' = a, v' = v: ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` unchanged."""

    class Config(ComponentConfig):
        pass

    interacts = False

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(audio, visual)
