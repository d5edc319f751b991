"""The leaky integrate-and-fire neuron with an adaptive threshold, all time steps in one call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.plugins.neurons.lif import LIF, Leaky
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Adapting(Leaky):
    """The further state is b."""

    beta: float
    decay: float

    @classmethod
    def of(cls, config: Any) -> Self:
        decay = math.exp(-1 / config.tau_adaptation)
        return cls(SURROGATES[config.surrogate], config.alpha, config.beta, decay)

    def start(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def centre(self, v: Tensor, threshold: Tensor, state: Any, out: Tensor | None = None) -> Tensor:
        return torch.sub(v, threshold, out=out).sub_(state)

    def adapt(self, state: Any, spikes: Tensor) -> Tensor:
        return state.mul_(self.decay).add_(spikes, alpha=self.beta)


class ALIF(LIF):
    """Leaky integrate and fire whose threshold rises with each spike and decays back:

        v[t] = v[t-1] + (x[t] - v[t-1]) / tau
        s[t] = H(v[t] - threshold - b[t-1])
        v[t] = v[t] (1 - s[t])
        b[t] = b[t-1] e^(-1 / tau_adaptation) + beta s[t]

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}, from v = b = 0 on every call. In the backward pass H' is the
    surrogate and the reset factor is a constant. With ``detach_membrane`` v[t-1] and b[t-1] are constants too:
    ds[t]/dx[t] = H'(...) / tau, as for ``lif``. Without it gradients go through both, and through the spikes
    that raise b, which is how these networks learn over long times.

    With beta = 0 it is ``lif``, to the bit. Source: Bellec et al. 2018, arXiv 1803.09574, who write beta
    (1 - rho) for this beta, rho being the decay, and subtract the threshold in the reset.
    """

    class Config(LIF.Config):
        beta: float = Field(0.2, ge=0, description="by how much a spike raises the threshold")
        tau_adaptation: float = Field(10.0, gt=0, description="time constant of the threshold, in time steps")

    dynamics_type = Adapting
    dynamics: Adapting

    def single_step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The equation for one step: ``x [B, *], (v, b) -> s [B, *], (v, b)``; without a state from zero."""
        v, b = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
        v = self.charge(x, v)
        s = self.fire(v - self.threshold - b)
        b = torch.add(b * self.dynamics.decay, s, alpha=self.dynamics.beta)
        return s, (v * (1 - s.detach()), b)
