"""A rectified linear unit with few bits, for the quantised twin of a spiking network."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Neuron


class Quantized(Neuron):
    """y[t] = d round(min(max(0, x[t]), limit) / d), d = limit / (2^bits - 1): ``x [T, B, *] -> y [T, B, *]``.

    Of 2^bits levels, no membrane and no reset. The derivative is 1 from 0 to ``limit``, that of the round left out
    (straight-through estimator, arXiv 1308.3432), and 0 elsewhere. With ``model.steps = 1`` every layer becomes
    that of a quantised network of the same architecture and number of parameters. A spiking network of T steps is
    matched by ceil(log2(T + 1)) bits (arXiv 2409.08290): 3 for 4 to 7 steps.
    """

    tags = frozenset({"analogue", "memoryless"})

    class Config(ComponentConfig):
        bits: int = Field(3, ge=1, le=16, description="bits of an output, which has 2^bits levels")
        limit: float = Field(2.5, gt=0, description="the highest level")

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__()
        self.bits, self.limit = config.bits, config.limit
        self.step = config.limit / (2**config.bits - 1)

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        """One time step, ``x [B, *] -> y [B, *]``; there is no state."""
        return self(x), None

    def forward(self, x: Tensor) -> Tensor:
        clipped = x.clamp(0, self.limit)
        return clipped + ((clipped / self.step).round() * self.step - clipped).detach()
