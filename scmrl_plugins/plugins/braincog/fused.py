"""What the fused neurons share: their settings, and all time steps in one pass where the membrane is detached.

A fused neuron is a subclass of a node of BrainCog's with

* ``Config``, a subclass of ``Settings``; its ``__init__`` calls the node's with ``of_the_node(config)``, then
  ``equip(self, config, dynamics)``;
* ``forward = forward``, from here;
* ``single_step(x, state)``, its equation under autograd, which is the unrolled path;
* ``rate()``, the number or tensor by which its dynamics scale the input, which may be learned;
* a ``Dynamics``, the same equation in place and its derivative, which is the fused path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.plugins.braincog.surrogates import SURROGATES, Fire, Surrogate, SurrogateName

Rate = Tensor | float


class Settings(ComponentConfig):
    """What every fused neuron has."""

    threshold: float = Field(1.0, description="membrane potential from which the neuron fires")
    surrogate: SurrogateName = Field("sigmoid", description="derivative that stands in for the step's")
    alpha: float = Field(4.0, gt=0, le=1e6, description="slope of the surrogate")
    detach_membrane: bool = Field(True, description="let no gradient cross time steps")


class Leak(ComponentConfig):
    """A fixed time constant; named second among the bases of a ``Config``, it is shown first."""

    tau: float = Field(2.0, ge=1, description="membrane time constant, in time steps")


@dataclass(frozen=True)
class Dynamics:
    """One time step in place; ``v``, ``u`` and what else is a state have the shape of ``x[t]``, ``[B, *]``.

    The order of a step: ``charge``, ``centre``, ``emit``, ``reset``, ``adapt``.
    """

    surrogate: Surrogate
    alpha: float

    def start(self, v: Tensor) -> Any:
        """The state beside the membrane ``v``, which is zero; none unless a neuron has one."""
        return None

    def charge(self, x: Tensor, v: Tensor, rate: Rate, drive: Tensor | None) -> Tensor:
        """v[t] as a new tensor. ``drive``, where one is given, takes dv[t]/drate."""
        raise NotImplementedError

    def centre(self, v: Tensor, threshold: Tensor, state: Any, out: Tensor) -> Tensor:
        """u[t], by how much v[t] is above the threshold, into ``out``."""
        return torch.sub(v, threshold, out=out)

    def emit(self, v: Tensor, u: Tensor, threshold: Tensor, out: Tensor) -> Tensor:
        """s[t] into ``out``."""
        return self.surrogate.step(u, out)

    def reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        """v (1 - s), which for an infinite v is 0 too; a fill by mask is many times slower on a CPU."""
        return v.clamp_(max=torch.finfo(v.dtype).max).mul_(1 - spikes)

    def adapt(self, state: Any, spikes: Tensor) -> Any:
        """The state after the step, from the output of the step."""
        return state

    def slope(self, grad: Tensor, u: Tensor, threshold: Tensor) -> Tensor:
        """grad ds/dv, pointwise over all steps, ``[T, B, *]``."""
        return self.surrogate.backward(grad, u, self.alpha)

    def backward(
        self, grad: Tensor, u: Tensor, threshold: Tensor, rate: Rate, drive: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of x ``[T, B, *]``, and of the rate where there is a drive, v[t-1] being a constant."""
        raise NotImplementedError


class _Detached(torch.autograd.Function):
    """All steps of a neuron whose state carries no gradient: one pass forward, one pointwise expression back.

    Returns the spikes and, if asked for, the membrane potential after the reset.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        wants_x, wants_rate = ctx.needs_input_grad[:2]
        spikes = torch.empty_like(x, memory_format=torch.contiguous_format)
        centred = torch.empty_like(spikes) if wants_x or wants_rate else None
        drive = torch.empty_like(spikes) if wants_rate else None
        potential = torch.empty_like(spikes) if keep else None
        v = torch.zeros_like(spikes[0])
        u = torch.empty_like(v)
        state = dynamics.start(v)
        for t in range(x.shape[0]):
            v = dynamics.charge(x[t], v, rate, None if drive is None else drive[t])
            u = dynamics.centre(v, threshold, state, u if centred is None else centred[t])
            s = dynamics.emit(v, u, threshold, spikes[t])
            v = dynamics.reset(v, s)
            state = dynamics.adapt(state, s)
            if potential is not None:
                potential[t] = v
        if centred is not None:
            held = rate if isinstance(rate, Tensor) else None
            ctx.save_for_backward(centred, drive, threshold, held)
        ctx.rate, ctx.dynamics = None if isinstance(rate, Tensor) else rate, dynamics
        if potential is not None:
            ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        u, drive, threshold, held = ctx.saved_tensors
        rate = ctx.rate if held is None else held
        return *ctx.dynamics.backward(grads[0], u, threshold, rate, drive), None, None, None


def forward(self: Any, x: Tensor) -> Tensor:
    """``x [T, B, *] -> s [T, B, *]``: fused where the membrane is detached, else step by step under autograd."""
    potential: Tensor | list[Tensor] | None
    if self.mem_detach:
        spikes, potential = _Detached.apply(x, self.rate(), self.threshold, self.dynamics, self.requires_mem)
    else:
        spikes, potential = _unrolled(self, x)
    # BrainCog's tools read these when a user asks for them.
    self.feature_map = list(spikes.unbind()) if self.requires_fp else []
    self.mem_collect = list(potential) if self.requires_mem and potential is not None else []
    return spikes


def _unrolled(neuron: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The equation step by step, with gradients through time; a state of several parts has the membrane first."""
    state = None
    spikes, potential = [], []
    for current in x:
        s, state = neuron.single_step(current, state)
        spikes.append(s)
        potential.append(state if isinstance(state, Tensor) else state[0])
    return torch.stack(spikes), potential


def of_the_node(config: Any) -> dict[str, Any]:
    """The settings that every node of BrainCog's takes, under its keywords."""
    return {
        "threshold": config.threshold,
        "act_fun": SURROGATES[config.surrogate].act_fun,
        "mem_detach": config.detach_membrane,
    }


def equip(neuron: Any, config: Any, dynamics: type[Dynamics], **constants: float) -> None:
    """Give a node of BrainCog's what ``forward`` uses; the slope of its surrogate is fixed."""
    neuron.act_fun.alpha.requires_grad_(False).fill_(config.alpha)
    neuron.surrogate, neuron.alpha = SURROGATES[config.surrogate], config.alpha
    neuron.dynamics = dynamics(neuron.surrogate, config.alpha, **constants)
    neuron.shown = ", ".join(f"{name}={value}" for name, value in config.model_dump().items())


def fire(neuron: Any, u: Tensor) -> Tensor:
    """H(u) under autograd, with the neuron's surrogate."""
    return Fire.apply(u, neuron.alpha, neuron.surrogate)


def extra_repr(self: Any) -> str:
    """The settings it was built with."""
    return self.shown
