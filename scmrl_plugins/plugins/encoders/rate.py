"""Bernoulli spikes, independent at every time step."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.plugins.encoders.base import IntensityEncoder


class Rate(IntensityEncoder):
    """x[t] = 1[p > U(0, 1)], p the intensity: independent at every step, drawn from torch's generator.

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1}; the mean over T tends to p.
    """

    tags = frozenset({"stochastic"})

    def encode(self, x: Tensor) -> Tensor:
        p = self.intensity(x)
        return (p > torch.rand((self.steps, *p.shape), dtype=p.dtype, device=p.device)).to(p.dtype)
