"""What the fused neurons share: their settings, and all time steps in one pass where the membrane is detached.

A fused neuron is a subclass of a node of BrainCog's with

* ``Config``, a subclass of ``Settings``; its ``__init__`` calls the node's with ``of_the_node(config)``, then
  ``equip(self, config, dynamics)``;
* ``forward = forward`` and ``pooled = pooled``, from here;
* ``single_step(x, state)``, its equation under autograd, which is the unrolled path;
* ``rate()``, the number or tensor by which its dynamics scale the input, which may be learned;
* a ``Dynamics``, the same equation and its derivative, which is the fused path.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.plugins.kernels.compiled import Compiled, worth
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES, Fire, Surrogate, SurrogateName

Rate = Tensor | float
# The membrane and what else is a state, after a step.
Carry = tuple[Tensor, Any]

# So many steps are compiled as one loop over memory, in which each has its own code; longer inputs go through
# piece by piece.
UNROLLED = 16


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


def _steps(
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    carried: Carry | None,
    centred: Sequence[Tensor] | Tensor | None,
    spikes: Sequence[Tensor] | Tensor | None,
) -> Iterator[tuple[Tensor | None, Tensor, Tensor, Carry]]:
    """dv/drate, u[t], s[t] and what the next step takes over; ``centred`` and ``spikes`` hold u and s if given."""
    if carried is None:
        v = torch.zeros_like(x[0])
        state = dynamics.start(v)
    else:
        v, state = tree_map_only(Tensor, torch.clone, carried)  # a step may work in place
    for t in range(x.shape[0]):
        v, drive = dynamics.charge(x[t], v, rate)
        u = dynamics.centre(v, threshold, state, None if centred is None else centred[t])
        s = dynamics.emit(v, u, threshold, None if spikes is None else spikes[t])
        v = dynamics.reset(v, s)
        state = dynamics.adapt(state, s)
        yield drive, u, s, (v, state)


def _run(
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    carried: Carry | None,
    out: Tensor | None,
    potential: Tensor | None,
) -> tuple[Tensor, Carry | None]:
    """The spikes, into ``out`` if given, and the carry after a piece; ``potential`` takes the membrane."""
    spikes, carry = [], carried
    steps = _steps(x, rate, threshold, dynamics, carried, None if out is None else _scratch(x), out)
    for t, (_, _, s, after) in enumerate(steps):
        spikes.append(s)
        if potential is not None:
            potential[t] = after[0]
        if carried is not None:
            carry = after
    return torch.stack(spikes) if out is None else out, carry


def _gradients(
    grad: Tensor,
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    learned: bool,
    carried: Carry | None,
    out: Tensor | None,
) -> tuple[Tensor, Tensor | None, Carry | None]:
    """Those of x and of a learned rate. The steps are run again: to keep u would cost more than to make it."""
    centred, drives, carry = [], [], carried
    steps = _steps(x, rate, threshold, dynamics, carried, out, None if out is None else _scratch(x))
    for drive, u, _, after in steps:
        centred.append(u)
        if learned and drive is not None:
            drives.append(drive)
        if carried is not None:
            carry = after
    u = torch.stack(centred) if out is None else out
    of_x, of_rate = dynamics.backward(grad, u, threshold, rate, torch.stack(drives) if drives else None)
    return of_x, of_rate, carry


def _scratch(x: Tensor) -> Sequence[Tensor]:
    """The memory of one step in the place of all of them."""
    return [torch.empty_like(x[0])] * len(x)


def _pooled(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, window: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Max pooling of each image of spikes: ``[T, B, H, W, C] -> [T, B, H / s, W / s, C]``.

    The steps of a number are the bits of one integer, and the largest of some spikes is the OR of their bits: so
    a T-th of the memory lies between neuron and pooling. Returned too, they are kept, not made anew at each use.
    """
    kernel, stride, padding = window
    steps = enumerate(_steps(x, rate, threshold, dynamics, None, None, None))
    bits = functools.reduce(torch.add, (s * 2**t for t, (_, _, s, _) in steps)).to(torch.int32)
    images = functional.pad(bits, (0, 0, *[padding] * 4))
    high, wide = (size - kernel + 1 for size in images.shape[1:3])
    rows = functools.reduce(torch.bitwise_or, [images[:, i : i + high : stride] for i in range(kernel)])
    images = functools.reduce(torch.bitwise_or, [rows[:, :, i : i + wide : stride] for i in range(kernel)])
    maps = torch.stack([(images >> t & 1).to(x.dtype) for t in range(len(x))])
    return maps, bits, images


_compiled_run = Compiled("scmrl::neuron", _run)
_compiled_gradients = Compiled("scmrl::neuron_backward", _gradients)
_compiled_pooled = Compiled("scmrl::neuron_and_pooling", _pooled)


def _forward(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """All steps: the spikes and, if asked for, the membrane potential after the reset."""
    if not keep and worth(x) and _dense(x):
        carry, pieces = _carry(x, dynamics), []
        for piece in x.split(UNROLLED):
            key = (dynamics, len(piece), x.dtype, carry is None)
            spikes, carry = _compiled_run(key, _flat(piece), rate, threshold, dynamics, carry, None, None)
            pieces.append(spikes)
        return _shaped(_whole(pieces), x), None
    spikes, potential = _like(x), _like(x) if keep else None
    _run(x, rate, threshold, dynamics, None, spikes, potential)
    return spikes, potential


class _Detached(torch.autograd.Function):
    """``_forward`` where the state carries no gradient: one pass forward, one pointwise expression back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(x, threshold, rate if isinstance(rate, Tensor) else None)
        ctx.rate, ctx.dynamics = None if isinstance(rate, Tensor) else rate, dynamics
        spikes, potential = _forward(x, rate, threshold, dynamics, keep)
        if potential is not None:
            ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, threshold, held = ctx.saved_tensors
        grad, rate, dynamics = grads[0], ctx.rate if held is None else held, ctx.dynamics
        learned = ctx.needs_input_grad[1]
        if worth(x) and _dense(x):
            if not _dense(grad) or grad.stride()[1:] != x.stride()[1:]:
                grad = _like(x).copy_(grad)
            carry, along_x, along_rate = _carry(x, dynamics), [], []
            for own, piece in zip(grad.split(UNROLLED), x.split(UNROLLED), strict=True):
                key = (dynamics, len(piece), x.dtype, learned, carry is None)
                of_x, of_rate, carry = _compiled_gradients(
                    key, _flat(own), _flat(piece), rate, threshold, dynamics, learned, carry, None
                )
                along_x.append(of_x)
                along_rate.append(of_rate)
            of_rate = functools.reduce(torch.add, along_rate) if learned else None
            return _shaped(_whole(along_x), x), of_rate, None, None, None
        of_x, of_rate, _ = _gradients(grad, x, rate, threshold, dynamics, learned, None, _like(x))
        return of_x, of_rate, None, None, None


def _carry(x: Tensor, dynamics: Dynamics) -> Carry | None:
    """What the first piece takes over, where x is more than one."""
    if len(x) <= UNROLLED:
        return None
    v = x.new_zeros(x[0].numel())
    return v, dynamics.start(v)


def _whole(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _like(x: Tensor) -> Tensor:
    """A new tensor with the steps one after the other, each laid out in memory as those of x are."""
    step = torch.empty_like(x[0], device="meta")
    return x.new_empty_strided(x.shape, (step.numel(), *step.stride()))


def _dense(x: Tensor) -> bool:
    """Whether each step of x lies in one piece."""
    return _dense_step(tuple(x.shape[1:]), x.stride()[1:])


@functools.lru_cache(maxsize=1024)
def _dense_step(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    step = torch.empty_strided(shape, stride, device="meta")
    return torch.empty_like(step).stride() == stride


def _flat(x: Tensor) -> Tensor:
    """``[T, M]`` over the same memory, of a dense x."""
    return _own(x.as_strided((len(x), x[0].numel()), (x.stride(0), 1)))


def _own(x: Tensor) -> Tensor:
    """A tensor of its own over the same memory: of a view, the compiler looks at what it is a view of."""
    return x.new_empty(0).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


def _shaped(flat: Tensor, x: Tensor) -> Tensor:
    return flat.as_strided(x.shape, (x[0].numel(), *x.stride()[1:]))


def forward(self: Any, x: Tensor) -> Tensor:
    """``x [T, B, *] -> s [T, B, *]``: fused where the membrane is detached, else step by step under autograd."""
    potential: Tensor | list[Tensor] | None
    if self.mem_detach:
        steps = _Detached.apply if torch.is_grad_enabled() else _forward
        spikes, potential = steps(x, self.rate(), self.threshold, self.dynamics, self.requires_mem)
    else:
        spikes, potential = _unrolled(self, x)
    # BrainCog's tools read these when a user asks for them.
    self.feature_map = list(spikes.unbind()) if self.requires_fp else []
    self.mem_collect = list(potential) if self.requires_mem and potential is not None else []
    return spikes


def pooled(self: Any, x: Tensor, pool: nn.Module) -> Tensor | None:
    """``pool`` of each step of the spikes as one loop with them: ``[T, B, C, H, W] -> [T, B, C, H / s, W / s]``.

    For inference, where the spikes themselves are not kept; none where that does not pay.
    """
    able = self.mem_detach and not torch.is_grad_enabled() and len(x) <= UNROLLED and worth(x)
    # With channels first the loop would go along rows, which pooling takes apart.
    if not able or not x[0].is_contiguous(memory_format=torch.channels_last) or not _dense(x):
        return None
    if pool._forward_hooks or (window := _window(pool)) is None:
        return None
    key = (self.dynamics, len(x), x.dtype, x.shape[2:], window)
    last = _own(x.permute(0, 1, 3, 4, 2))
    # All but the number of samples is fixed: reasoning on symbols takes seconds, in every process anew.
    torch._dynamo.mark_static(last, [2, 3, 4])
    maps, *_ = _compiled_pooled(key, last, self.rate(), self.threshold, self.dynamics, window)
    return maps.permute(0, 1, 4, 2, 3)


def _window(pool: nn.Module) -> tuple[int, int, int] | None:
    """Kernel, stride and padding of a square max pooling; none for any other."""
    if type(pool) is not nn.MaxPool2d or pool.dilation != 1 or pool.ceil_mode or pool.return_indices:
        return None
    window = (pool.kernel_size, pool.stride, pool.padding)
    return window if all(isinstance(size, int) for size in window) else None  # type: ignore[return-value]


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
