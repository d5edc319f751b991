"""The leaky integrate-and-fire neuron with a learned time constant, all time steps in one call."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context, IntegrateAndFire
from scmrl_plugins.plugins.neurons.base import FusedNeuron
from scmrl_plugins.plugins.neurons.dynamics import Dynamics, Leak, Rate, Settings
from scmrl_plugins.plugins.neurons.upstream import node


class Learned(Dynamics):
    """The rate is k: dv/dx = k, and dv/dk is the drive x - v."""

    charging = "multiply"

    def charge(self, x: Tensor, v: Tensor, rate: Rate) -> tuple[Tensor, Tensor]:
        drive = torch.sub(x, v)
        return (drive * rate).add_(v), drive

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: Rate, drive: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        slope = self.slope(grad, u, threshold)
        learned = None
        if drive is not None and isinstance(rate, Tensor):
            # In half precision the parameter has the wider type.
            learned = (drive * slope).sum(dtype=torch.promote_types(slope.dtype, rate.dtype))
        return slope.mul_(rate), learned


class PLIF(FusedNeuron, node.PLIFNode):
    """Leaky integrate and fire whose time constant 1 / k is learned, one for the layer, through w:

        k = 1 / (1 + e^-w), initially 1 / tau
        v[t] = v[t-1] + (x[t] - v[t-1]) k
        s[t] = H(v[t] - threshold)
        v[t] = v[t] (1 - s[t])

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}, from a state of zero on every call. In the backward pass H' is the
    surrogate and the reset factor is a constant. With ``detach_membrane`` v[t-1] is one too, for w as for x:
    ds[t]/dx[t] = H'(v[t] - threshold) k and ds[t]/dk = H'(v[t] - threshold) (x[t] - v[t-1]), summed over steps.

    A subclass of BrainCog's ``PLIFNode`` that agrees with it step by step, to the bit; BrainCog also learns the
    slope of some surrogates, which is fixed here. Source: Fang et al. 2021, arXiv 2007.05785; BrainCog 0.2.7.
    """

    class Config(Settings, Leak):
        # At 1 there is no leak and w would be infinite.
        tau: float = Field(2.0, gt=1, description="membrane time constant at the start, in time steps")

    dynamics_type = Learned
    w: nn.Parameter

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__(config, context, tau=config.tau)

    def rate(self) -> Rate:
        return self.w.sigmoid()

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + (x - v) * self.rate()

    def integrate_and_fire(self) -> IntegrateAndFire:
        return self.spiking(1 / float(self.w.detach().sigmoid()))
