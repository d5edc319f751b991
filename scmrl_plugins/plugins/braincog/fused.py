"""What the fused neurons share: their settings, and all time steps in one pass where the membrane is detached.

A fused neuron is a subclass of a node of BrainCog's with

* ``Config``, a subclass of ``Settings``; its ``__init__`` calls the node's with ``of_the_node(config)``, then
  ``equip(self, config, dynamics)``;
* ``forward = forward``, from here;
* ``single_step(x, state)``, its equation under autograd, which is the unrolled path;
* ``rate()``, the number or tensor by which its dynamics scale the input, which may be learned;
* a ``Dynamics``, the same equation and its derivative, which is the fused path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.plugins.braincog.compiled import Compiled, worth
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
    """One time step; ``v``, ``u`` and what else is a state have the shape of ``x[t]``, ``[B, *]``.

    The order of a step: ``charge``, ``centre``, ``emit``, ``reset``, ``adapt``. ``out``, where it is given, takes
    the result; the compiler does without.
    """

    surrogate: Surrogate
    alpha: float

    def start(self, v: Tensor) -> Any:
        """The state beside the membrane ``v``, which is zero; none unless a neuron has one."""
        return None

    def charge(self, x: Tensor, v: Tensor, rate: Rate) -> tuple[Tensor, Tensor | None]:
        """v[t], and dv[t]/drate where the rate may be learned."""
        raise NotImplementedError

    def centre(self, v: Tensor, threshold: Tensor, state: Any, out: Tensor | None = None) -> Tensor:
        """u[t], by how much v[t] is above the threshold."""
        return torch.sub(v, threshold, out=out)

    def emit(self, v: Tensor, u: Tensor, threshold: Tensor, out: Tensor | None = None) -> Tensor:
        """s[t]."""
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


def _run(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, out: Tensor | None, potential: Tensor | None
) -> Tensor:
    """The spikes of all steps, and the membrane after the reset into ``potential``."""
    v = torch.zeros_like(x[0])
    state = dynamics.start(v)
    u, spikes = torch.empty_like(v) if out is not None else None, []
    for t in range(x.shape[0]):
        v, _ = dynamics.charge(x[t], v, rate)
        u = dynamics.centre(v, threshold, state, u)
        s = dynamics.emit(v, u, threshold, None if out is None else out[t])
        v = dynamics.reset(v, s)
        state = dynamics.adapt(state, s)
        spikes.append(s)
        if potential is not None:
            potential[t] = v
        if out is None:
            u = None
    return torch.stack(spikes) if out is None else out


def _gradients(
    grad: Tensor,
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    learned: bool,
    out: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Those of x and of a learned rate. The steps are run again: to keep u would cost more than to make it."""
    v = torch.zeros_like(x[0])
    state = dynamics.start(v)
    s = torch.empty_like(v) if out is not None else None
    centred, drives = [], []
    for t in range(x.shape[0]):
        v, drive = dynamics.charge(x[t], v, rate)
        u = dynamics.centre(v, threshold, state, None if out is None else out[t])
        s = dynamics.emit(v, u, threshold, s)
        v = dynamics.reset(v, s)
        state = dynamics.adapt(state, s)
        centred.append(u)
        if learned and drive is not None:
            drives.append(drive)
        if out is None:
            s = None
    u = torch.stack(centred) if out is None else out
    return dynamics.backward(grad, u, threshold, rate, torch.stack(drives) if drives else None)


_compiled_run, _compiled_gradients = Compiled(_run), Compiled(_gradients)


class _Detached(torch.autograd.Function):
    """All steps of a neuron whose state carries no gradient: one pass forward, one pointwise expression back.

    Returns the spikes and, if asked for, the membrane potential after the reset.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(x, threshold, rate if isinstance(rate, Tensor) else None)
        ctx.rate, ctx.dynamics = None if isinstance(rate, Tensor) else rate, dynamics
        if not keep and worth(x) and (flat := _flat(x)) is not None:
            spikes = _compiled_run((dynamics, x.shape[0], x.dtype), flat, rate, threshold, dynamics, None, None)
            return _shaped(spikes, x), None
        spikes, potential = _like(x), _like(x) if keep else None
        _run(x, rate, threshold, dynamics, spikes, potential)
        if potential is not None:
            ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, threshold, held = ctx.saved_tensors
        grad, rate, dynamics = grads[0], ctx.rate if held is None else held, ctx.dynamics
        learned = ctx.needs_input_grad[1]
        if worth(x) and (flat := _flat(x)) is not None:
            if (flat_grad := _flat(grad)) is None or grad.stride()[1:] != x.stride()[1:]:
                flat_grad = _flat(_like(x).copy_(grad))
            key = (dynamics, x.shape[0], x.dtype, learned)
            of_x, of_rate = _compiled_gradients(key, flat_grad, flat, rate, threshold, dynamics, learned, None)
            return _shaped(of_x, x), of_rate, None, None, None
        return *_gradients(grad, x, rate, threshold, dynamics, learned, _like(x)), None, None, None


def _like(x: Tensor) -> Tensor:
    """A new tensor with the steps one after the other, each laid out in memory as those of x are."""
    step = torch.empty_like(x[0], device="meta")
    return x.new_empty_strided(x.shape, (step.numel(), *step.stride()))


def _flat(x: Tensor) -> Tensor | None:
    """``[T, M]`` over the same memory, where each step of x lies in one piece; else none."""
    if torch.empty_like(x[0], device="meta").stride() != x[0].stride():
        return None
    # A tensor of its own: of a view, the compiler looks at what it is a view of.
    return x.new_empty(0).set_(x.untyped_storage(), x.storage_offset(), (len(x), x[0].numel()), (x.stride(0), 1))


def _shaped(flat: Tensor, x: Tensor) -> Tensor:
    return flat.as_strided(x.shape, (x[0].numel(), *x.stride()[1:]))


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
