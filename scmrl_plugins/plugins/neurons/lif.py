"""The leaky integrate-and-fire neuron, all time steps in one call."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, IntegrateAndFire
from scmrl_plugins.plugins.neurons.base import FusedNeuron
from scmrl_plugins.plugins.neurons.dynamics import Dynamics, Leak, Rate, Settings
from scmrl_plugins.plugins.neurons.upstream import node


class Leaky(Dynamics):
    """The rate is tau: dv/dx = 1 / tau."""

    charging = "divide"

    def charge(self, x: Tensor, v: Tensor, rate: Rate) -> tuple[Tensor, None]:
        # The order of these operations is BrainCog's, so that the bits agree.
        return torch.sub(x, v).div_(rate).add_(v), None

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: Rate, drive: Tensor | None
    ) -> tuple[Tensor, None]:
        return self.slope(grad / rate, u, threshold), None


class LIF(FusedNeuron, node.LIFNode):
    """Leaky integrate and fire with a hard reset, from a state of zero on every call:

        v[t] = v[t-1] + (x[t] - v[t-1]) / tau
        s[t] = H(v[t] - threshold)
        v[t] = v[t] (1 - s[t])

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}. In the backward pass H' is the surrogate and the reset factor is
    a constant. With ``detach_membrane`` (as published) v[t-1] is one too, so no gradient crosses time steps
    and the derivative is pointwise: ds[t]/dx[t] = H'(v[t] - threshold) / tau.

    A subclass of BrainCog's ``LIFNode`` that agrees with it step by step, to the bit. Source: arXiv
    2502.12488; BrainCog 0.2.7.
    """

    class Config(Settings, Leak):
        pass

    dynamics_type: ClassVar[type[Dynamics]] = Leaky
    tau: float

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__(config, context, tau=config.tau)

    def rate(self) -> Rate:
        return self.tau

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + (x - v) / self.tau

    def integrate_and_fire(self) -> IntegrateAndFire | None:
        return self.spiking(self.tau) if self.dynamics_type is Leaky else None
