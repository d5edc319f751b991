"""One time step of a neuron and its derivative, in place for the fused path; the settings of all neurons."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.plugins.kernels.neuron import Charge, Kernel
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES, Surrogate, SurrogateName

Rate = Tensor | float
"""The factor by which a neuron scales its input: a number, or a tensor where it is learned."""


class Settings(ComponentConfig):
    """The settings of every fused neuron."""

    threshold: float = Field(1.0, description="membrane potential from which the neuron fires")
    surrogate: SurrogateName = Field("sigmoid", description="derivative that stands in for the step's")
    alpha: float = Field(4.0, gt=0, le=1e6, description="slope of the surrogate")
    detach_membrane: bool = Field(True, description="let no gradient cross time steps")


class Leak(ComponentConfig):
    """A fixed time constant. As the second base of a ``Config`` it comes first in listings."""

    tau: float = Field(2.0, ge=1, description="membrane time constant, in time steps")


@dataclass(frozen=True)
class Dynamics:
    """One time step of a neuron, in the order ``charge``, ``centre``, ``emit``, ``reset``, ``adapt``.

    ``v``, ``u`` and any further state have the shape of ``x[t]``, ``[B, *]``. Methods may work in place. Where
    ``out`` is given it receives the result; the compiled path does without it.
    """

    surrogate: Surrogate
    alpha: float

    charging: ClassVar[Charge | None] = None
    """How ``charge`` works in C++, for the class that names it and no subclass, as that may change a method."""

    @classmethod
    def of(cls, config: Any) -> Self:
        """The dynamics with a neuron's settings."""
        return cls(SURROGATES[config.surrogate], config.alpha)

    @functools.cached_property
    def kernel(self) -> Kernel | None:
        """The same neuron in C++, where the class itself, not a base, names its ``charging``."""
        charging: Charge | None = vars(type(self)).get("charging")
        if charging is None:
            return None
        return Kernel(charging, self.surrogate.name, self.surrogate.tie, self.alpha)

    def start(self, v: Tensor) -> Any:
        """The state beside the membrane ``v``, which is zero; none for most neurons."""
        return None

    def charge(self, x: Tensor, v: Tensor, rate: Rate) -> tuple[Tensor, Tensor | None]:
        """v[t], and dv[t]/drate where the rate may be learned."""
        raise NotImplementedError

    def centre(self, v: Tensor, threshold: Tensor, state: Any, out: Tensor | None = None) -> Tensor:
        """u[t], the membrane potential relative to the threshold."""
        return torch.sub(v, threshold, out=out)

    def emit(self, v: Tensor, u: Tensor, threshold: Tensor, out: Tensor | None = None) -> Tensor:
        """s[t]."""
        return self.surrogate.step(u, out)

    def reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        """v (1 - s), and 0 for an infinite v that fires. A masked fill is many times slower on a CPU."""
        return v.clamp_(max=torch.finfo(v.dtype).max).mul_(1 - spikes)

    def adapt(self, state: Any, spikes: Tensor) -> Any:
        """The further state after the step, from the step's spikes."""
        return state

    def slope(self, grad: Tensor, u: Tensor, threshold: Tensor) -> Tensor:
        """grad ds/dv, pointwise over all steps, ``[T, B, *]``."""
        return self.surrogate.backward(grad, u, self.alpha)

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: Rate, drive: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient of x ``[T, B, *]`` with v[t-1] constant, and that of the rate given ``drive``, dv/drate."""
        raise NotImplementedError
