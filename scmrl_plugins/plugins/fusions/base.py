"""What the fusions with two directions share: the partner of each direction, and the residual connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Fused, Fusion

Partner = Literal["other", "own"]


class TwoWayConfig(ComponentConfig):
    """The setting of every fusion with two directions."""

    partner: Partner = Field(
        "other", description="other: each direction gets the other modality; own: its own, as a control"
    )


class TwoWay(Fusion):
    """Two directions, r_a = f_a(a, v) and r_v = f_v(v, a): ``audio_from_visual`` and ``visual_from_audio``.

    With ``partner = "own"``, r_a = f_a(a, a) and r_v = f_v(v, v): the control, with the same parameters and
    operations, in which nothing crosses between the modalities. A direction is a module
    ``own [T, B, D, N], partner [T, B, D, M] -> [T, B, D, N]``.
    """

    audio_from_visual: nn.Module
    visual_from_audio: nn.Module

    def __init__(self, partner: Partner) -> None:
        super().__init__()
        self.partner = partner
        self.interacts = partner == "other"

    def directions(self, audio: Tensor, visual: Tensor) -> dict[str, Tensor]:
        """r by modality."""
        own = self.partner == "own"
        return {
            "audio": self.audio_from_visual(audio, audio if own else visual),
            "visual": self.visual_from_audio(visual, visual if own else audio),
        }


def summary(stream: Tensor) -> Tensor:
    """mean_N: ``[T, B, D, N] -> [T, B, D, 1]``."""
    return stream.mean(3, keepdim=True)


class ResidualConfig(TwoWayConfig):
    """The settings of a fusion with a residual connection."""

    alpha: float = Field(1.0, description="weight of the residual")


class Residual(TwoWay):
    """a' = a + alpha r_a, v' = v + alpha r_v: ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused``."""

    def __init__(self, config: ResidualConfig, direction: Callable[[], nn.Module]) -> None:
        super().__init__(config.partner)
        self.alpha = config.alpha
        self.audio_from_visual = direction()
        self.visual_from_audio = direction()

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        residuals = self.directions(audio, visual)
        return Fused(
            audio + self.alpha * residuals["audio"],
            visual + self.alpha * residuals["visual"],
            residuals=residuals,
        )
