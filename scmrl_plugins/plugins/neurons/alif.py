"""The leaky integrate-and-fire neuron with an adaptive threshold, all time steps in one call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.neurons import fused
from scmrl_plugins.plugins.neurons.lif import LIF, Leaky

State = tuple[Tensor, Tensor]


class ALIF(LIF):
    """Leaky integrate and fire whose threshold rises by beta with each spike and falls back, by b:

        v[t] = v[t-1] + (x[t] - v[t-1]) / tau
        s[t] = H(v[t] - threshold - b[t-1])
        v[t] = v[t] (1 - s[t])
        b[t] = b[t-1] e^(-1 / tau_adaptation) + beta s[t]

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}, from v = b = 0 on every call. In the backward pass H' is the
    surrogate and the reset factor is a constant. With ``detach_membrane`` the whole state is one, v[t-1] and
    b[t-1]: ds[t]/dx[t] = H'(...) / tau, as for ``lif``. Without it gradients go through both, and through the
    spikes that raise b, which is the path by which these networks learn over long times.

    With beta = 0 it is ``lif``, to the bit. Source: Bellec et al. 2018, arXiv 1803.09574, where beta (1 - rho)
    stands for this beta, rho being the decay, and the reset subtracts the threshold.
    """

    class Config(LIF.Config):
        beta: float = Field(0.2, ge=0, description="by how much a spike raises the threshold")
        tau_adaptation: float = Field(10.0, gt=0, description="time constant of the threshold, in time steps")

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__(config, context)
        self.beta, self.decay = config.beta, math.exp(-1 / config.tau_adaptation)
        fused.equip(self, config, Adapting, beta=self.beta, decay=self.decay)

    def single_step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:  # type: ignore[override]
        """The equation for one step: ``x [B, *], (v, b) -> s [B, *], (v, b)``; no state is one of zeros."""
        v, b = (None, torch.zeros_like(x)) if state is None else state
        v = self.charge(x, v)
        s = fused.fire(self, v - self.threshold - b)
        return s, (v * (1 - s.detach()), torch.add(b * self.decay, s, alpha=self.beta))


@dataclass(frozen=True)
class Adapting(Leaky):
    """The state is b."""

    beta: float
    decay: float

    def start(self, v: Tensor) -> Any:
        return torch.zeros_like(v)

    def centre(self, v: Tensor, threshold: Tensor, state: Any, out: Tensor | None = None) -> Tensor:
        return torch.sub(v, threshold, out=out).sub_(state)

    def adapt(self, state: Any, spikes: Tensor) -> Any:
        return state.mul_(self.decay).add_(spikes, alpha=self.beta)
