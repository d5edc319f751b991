"""The integrate-and-fire neuron, all time steps in one call."""

from __future__ import annotations

from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.braincog.upstream import node
from scmrl_plugins.plugins.neurons import fused


class IF(node.IFNode):  # type: ignore[name-defined]
    """Integrate and fire with a hard reset and no leak, from a state of zero on every call:

        v[t] = v[t-1] + x[t]
        s[t] = H(v[t] - threshold)
        v[t] = v[t] (1 - s[t])

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}. In the backward pass H' is the surrogate and the reset factor is
    a constant. With ``detach_membrane`` v[t-1] is one too: ds[t]/dx[t] = H'(v[t] - threshold).

    A subclass of BrainCog's ``IFNode`` that agrees with it step by step, to the bit. Source: BrainCog 0.2.7.
    """

    class Config(fused.Settings):
        pass

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__(**fused.of_the_node(config))
        fused.equip(self, config, Integrating)

    forward = fused.forward
    pooled = fused.pooled
    extra_repr = fused.extra_repr

    def rate(self) -> fused.Rate:
        return 1.0

    def single_step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The equation for one step: ``x [B, *], v [B, *] -> s [B, *], v [B, *]``; no v is a v of zero."""
        v = x if state is None else state + x
        s = fused.fire(self, v - self.threshold)
        return s, v * (1 - s.detach())


class Integrating(fused.Dynamics):
    """The rate is 1 and not used: dv/dx = 1."""

    def charge(self, x: Tensor, v: Tensor, rate: fused.Rate) -> tuple[Tensor, None]:
        return v.add_(x), None

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: fused.Rate, drive: Tensor | None
    ) -> tuple[Tensor, None]:
        return self.slope(grad, u, threshold), None
