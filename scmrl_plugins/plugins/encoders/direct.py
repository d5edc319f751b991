"""The input itself at every time step."""

from __future__ import annotations

from torch import Tensor

from scmrl_plugins.plugins.encoders.base import StaticEncoder


class Direct(StaticEncoder):
    """x[t] = x: the analogue input at every step; the first spiking layer does the coding.

    ``[B, C, H, W] -> [T, B, C, H, W]``, a view over T that copies nothing.
    """

    tags = frozenset({"analogue"})

    def encode(self, x: Tensor) -> Tensor:
        return x.expand(self.steps, *x.shape)
