"""The binary digits of the intensity, one a time step."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.plugins.encoders.base import IntensityEncoder


class Phase(IntensityEncoder):
    """x[t] = b[t mod 8] 2^-(t mod 8): the eight binary digits b of floor(256 p), p the intensity, highest first.

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 2^-(t mod 8)}; over eight steps sum x[t] = 2 floor(256 p) / 256.
    p = 1 is encoded as 255/256. After BrainCog's ``phase``, which overflows there and does not run as installed.
    """

    tags = frozenset({"analogue"})

    def encode(self, x: Tensor) -> Tensor:
        level = (self.intensity(x) * 256).long().clamp_max(255)
        phase = torch.arange(self.steps, device=x.device).remainder(8).view(-1, 1, 1, 1, 1)
        bit = (level >> (7 - phase)) & 1
        return bit.to(x.dtype) * torch.exp2(-phase.to(x.dtype))
