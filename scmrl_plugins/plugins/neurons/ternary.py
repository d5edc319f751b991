"""The leaky integrate-and-fire neuron with spikes of both signs, all time steps in one call."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.plugins.neurons.lif import LIF, Leaky


class TwoSided(Leaky):
    """u = v - threshold; a membrane below -threshold fires with the other sign."""

    def emit(self, v: Tensor, u: Tensor, threshold: Tensor, out: Tensor | None = None) -> Tensor:
        below = v.neg().sub_(threshold)
        return self.surrogate.step(u, out).sub_(self.surrogate.step(below, below))

    def reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        largest = torch.finfo(v.dtype).max
        return v.clamp_(-largest, largest).mul_(1 - spikes.abs())

    def slope(self, grad: Tensor, u: Tensor, threshold: Tensor) -> Tensor:
        above = self.surrogate.backward(grad, u, self.alpha)
        return self.surrogate.backward(grad, -2 * threshold - u, self.alpha).add_(above)  # -v - threshold, from u


class Ternary(LIF):
    """Leaky integrate and fire between two thresholds, with a hard reset after a spike of either sign:

        v[t] = v[t-1] + (x[t] - v[t-1]) / tau
        s[t] = H(v[t] - threshold) - H(-v[t] - threshold)
        v[t] = v[t] (1 - |s[t]|)

    ``x [T, B, *] -> s [T, B, *]`` in {-1, 0, 1}, from a state of zero on every call; odd: the spikes of -x are
    those of x negated. In the backward pass H' is the surrogate, ds/dv = H'(v - threshold) + H'(-v - threshold),
    and the reset factor is a constant; with ``detach_membrane`` v[t-1] is one too.

    Where -v stays below the threshold the spikes are those of ``lif``. Source: Guo et al. 2024, arXiv 2312.06372,
    with a leak by a factor instead, v[t] = d v[t-1] + x[t]; their surrogate for a threshold of 1/2 is ``gate``
    with a slope of 2.
    """

    tags = frozenset({"analogue"})

    class Config(LIF.Config):
        # At 0 or below, a membrane could cross both thresholds at once.
        threshold: float = Field(1.0, gt=0, description="membrane potential of either sign from which it fires")

    dynamics_type = TwoSided

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Tensor]:
        """The equation for one step: ``x [B, *], v [B, *] -> s [B, *], v [B, *]``; without v from v = 0."""
        v = self.charge(x, torch.zeros_like(x) if state is None else state)
        s = self.fire(v - self.threshold) - self.fire(-v - self.threshold)
        return s, v * (1 - s.detach().abs())
