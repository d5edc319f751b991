"""The leaky integrate-and-fire neuron, all time steps in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.braincog.upstream import node
from scmrl_plugins.plugins.neurons import fused


class LIF(node.LIFNode):  # type: ignore[name-defined]
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

    class Config(fused.Settings, fused.Leak):
        pass

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__(tau=config.tau, **fused.of_the_node(config))
        fused.equip(self, config, Leaky)

    forward = fused.forward
    pooled = fused.pooled
    extra_repr = fused.extra_repr

    def rate(self) -> fused.Rate:
        return self.tau

    def charge(self, x: Tensor, v: Tensor | None) -> Tensor:
        """v[t] before the reset; no v is a v of zero."""
        v = torch.zeros_like(x) if v is None else v
        return v + (x - v) / self.tau

    def single_step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The equation for one step: ``x [B, *], v [B, *] -> s [B, *], v [B, *]``; no v is a v of zero."""
        v = self.charge(x, state)
        s = fused.fire(self, v - self.threshold)
        return s, v * (1 - s.detach())


class Leaky(fused.Dynamics):
    """The rate is tau: dv/dx = 1 / tau."""

    def charge(self, x: Tensor, v: Tensor, rate: fused.Rate) -> tuple[Tensor, None]:
        # The order of these operations is BrainCog's, so that the bits agree.
        return torch.sub(x, v).div_(rate).add_(v), None

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: fused.Rate, drive: Tensor | None
    ) -> tuple[Tensor, None]:
        return self.slope(grad / rate, u, threshold), None
