"""The integrate-and-fire neuron, all time steps in one call."""

from __future__ import annotations

from torch import Tensor

from scmrl_plugins.core.interfaces import IntegrateAndFire
from scmrl_plugins.plugins.neurons.base import FusedNeuron
from scmrl_plugins.plugins.neurons.dynamics import Dynamics, Rate, Settings
from scmrl_plugins.plugins.neurons.upstream import node


class Integrating(Dynamics):
    """The rate is 1 and not used: dv/dx = 1."""

    charging = "add"

    def charge(self, x: Tensor, v: Tensor, rate: Rate) -> tuple[Tensor, None]:
        return v.add_(x), None

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: Rate, drive: Tensor | None
    ) -> tuple[Tensor, None]:
        return self.slope(grad, u, threshold), None


class IF(FusedNeuron, node.IFNode):
    """Integrate and fire with a hard reset and no leak, from a state of zero on every call:

        v[t] = v[t-1] + x[t]
        s[t] = H(v[t] - threshold)
        v[t] = v[t] (1 - s[t])

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}. In the backward pass H' is the surrogate and the reset factor is
    a constant. With ``detach_membrane`` v[t-1] is one too: ds[t]/dx[t] = H'(v[t] - threshold).

    A subclass of BrainCog's ``IFNode`` that agrees with it step by step, to the bit. Source: BrainCog 0.2.7.
    """

    class Config(Settings):
        pass

    dynamics_type = Integrating

    def rate(self) -> Rate:
        return 1.0

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x

    def integrate_and_fire(self) -> IntegrateAndFire:
        return self.spiking(None)
