"""From an input to a sequence over T time steps.

The codes are BrainCog's (``braincog.base.encoder``), written anew: there ``phase`` and ``ttfs`` raise.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.encoders.static import IntensityEncoder, StaticEncoder


class Direct(StaticEncoder):
    """x[t] = x: the analogue input at every step; the first spiking layer does the coding.

    ``[B, C, H, W] -> [T, B, C, H, W]``, a view over T that copies nothing.
    """

    tags = frozenset({"analogue"})

    def encode(self, x: Tensor) -> Tensor:
        return x.expand(self.steps, *x.shape)


class Rate(IntensityEncoder):
    """x[t] = 1[p > U(0, 1)], p the intensity: independent at every step, drawn from torch's generator.

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1}; the mean over T tends to p.
    """

    tags = frozenset({"stochastic"})

    def encode(self, x: Tensor) -> Tensor:
        p = self.intensity(x)
        return (p > torch.rand((self.steps, *p.shape), dtype=p.dtype, device=p.device)).to(p.dtype)


class Phase(IntensityEncoder):
    """x[t] = b[t mod 8] 2^-(t mod 8): the eight binary digits b of floor(256 p), p the intensity, highest first.

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 2^-(t mod 8)}; over eight steps sum x[t] = 2 floor(256 p) / 256.
    p = 1 counts as 255/256, where BrainCog's integer overflows to no spike at all.
    """

    tags = frozenset({"analogue"})

    def encode(self, x: Tensor) -> Tensor:
        level = (self.intensity(x) * 256).long().clamp_max(255)
        phase = torch.arange(self.steps, device=x.device).remainder(8).view(-1, 1, 1, 1, 1)
        bit = (level >> (7 - phase)) & 1
        return bit.to(x.dtype) * torch.exp2(-phase.to(x.dtype))


class TimeToFirstSpike(IntensityEncoder):
    """x[t] = 1[t = T - ceil(p T)]: one spike a pixel, at t = 0 for intensity p = 1, none for p = 0.

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1}. With ``weighted`` the spike's size is 1 / (t + 1), as in
    BrainCog.
    """

    class Config(IntensityEncoder.Config):
        weighted: bool = Field(False, description="size 1/(t + 1) instead of 1, as BrainCog has it")

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.tags = frozenset({"analogue"}) if config.weighted else frozenset()

    def encode(self, x: Tensor) -> Tensor:
        p = self.intensity(x)
        first = self.steps - torch.ceil(p * self.steps)
        t = torch.arange(self.steps, dtype=p.dtype, device=p.device).view(-1, 1, 1, 1, 1)
        spikes = (t == first).to(p.dtype)
        return spikes / (t + 1) if self.config.weighted else spikes
