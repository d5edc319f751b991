"""One spike a pixel, the earlier the larger the intensity."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.encoders.base import IntensityEncoder


class TimeToFirstSpike(IntensityEncoder):
    """x[t] = 1[t = T - ceil(p T)]: one spike a pixel, at t = 0 for intensity p = 1, none for p = 0.

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1}. With ``weighted`` the spike's size is 1 / (t + 1), as in
    BrainCog's ``ttfs``, which does not run as installed.
    """

    class Config(IntensityEncoder.Config):
        weighted: bool = Field(False, description="spikes of size 1/(t + 1) instead of 1, as in BrainCog")

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.tags = frozenset({"analogue"}) if config.weighted else frozenset()

    def encode(self, x: Tensor) -> Tensor:
        p = self.intensity(x)
        first = self.steps - torch.ceil(p * self.steps)
        t = torch.arange(self.steps, dtype=p.dtype, device=p.device).view(-1, 1, 1, 1, 1)
        spikes = (t == first).to(p.dtype)
        return spikes / (t + 1) if self.config.weighted else spikes
