"""All time steps of a neuron in one pass where the membrane is detached, forward and backward.

``spikes`` and ``pooled_spikes`` run a ``Dynamics`` over time: on the CPU by its kernel in C++, if it has one, else
compiled into one loop over memory where that pays, else op by op.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from scmrl_plugins.core.system.private import fix_sizes, has_forward_hooks, tree_map_only
from scmrl_plugins.plugins.kernels.compiled import Compiled, worth
from scmrl_plugins.plugins.kernels.neuron import POOLED_STEPS, Kernel, Window
from scmrl_plugins.plugins.neurons.dynamics import Dynamics, Rate
from scmrl_plugins.plugins.neurons.strides import empty_like_steps, flat, has_dense_steps, unflat, without_base

Carry = tuple[Tensor, Any]
"""The membrane and any further state after a step."""

UNROLLED = 16
"""Time steps in one compiled loop, where each has its own code; longer inputs run in chunks of this length."""


def spikes(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep_membrane: bool
) -> tuple[Tensor, Tensor | None]:
    """The spikes of all steps, ``[T, B, *] -> [T, B, *]``, and with ``keep_membrane`` v after each reset.

    The gradient of x and of a learned rate takes v[t-1] as a constant; the membrane carries none.
    """
    compute = _Detached.apply if torch.is_grad_enabled() else _forward
    return compute(x, rate, threshold, dynamics, keep_membrane)


def pooled_spikes(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, pool: nn.Module, steps: int
) -> Tensor | None:
    """``pool`` of each step's spikes: ``[T or 1, B, C, H, W] -> [T, B, C, H / s, W / s]``.

    One step stands for T = ``steps`` equal ones. ``None`` unless a joint loop is faster: in channels-last layout,
    by the kernel in C++, or compiled, which has no gradient.
    """
    # With channels first the loop would run along rows, which pooling takes apart.
    if not (x[0].is_contiguous(memory_format=torch.channels_last) and has_dense_steps(x)):
        return None
    if (window := square_window(pool)) is None:
        return None
    if steps <= POOLED_STEPS and (kernel := _kernel(x, threshold, dynamics)):
        return _Pooled.apply(x, rate, threshold, kernel, window, steps)
    repeated = x.expand(steps, *x.shape[1:])
    if torch.is_grad_enabled() or steps > UNROLLED or not worth(repeated):
        return None
    key = (dynamics, steps, x.dtype, x.shape[2:], window)
    last = without_base(repeated.permute(0, 1, 3, 4, 2))
    # All sizes but the number of samples are fixed: symbolic ones cost seconds in each new process.
    fix_sizes(last, [2, 3, 4])
    maps, *_ = _compiled_pool(key, last, rate, threshold, dynamics, window)
    return maps.permute(0, 1, 4, 2, 3)


class _Pooled(torch.autograd.Function):
    """Neuron and pooling by the kernel in C++. Only x is stored for the gradient, no spikes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rate: Rate, threshold: Tensor, kernel: Kernel, window: Window, steps: int
    ) -> Tensor:
        ctx.save_for_backward(x, threshold)
        ctx.rate, ctx.kernel, ctx.window = rate, kernel, window
        maps = kernel.pooled(x.permute(0, 1, 3, 4, 2), float(rate), float(threshold), window, steps)
        return maps.permute(0, 1, 4, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, threshold = ctx.saved_tensors
        of_x, of_rate, _ = ctx.kernel.pooled_gradients(
            grads[0].permute(0, 1, 3, 4, 2).contiguous(),
            x.permute(0, 1, 3, 4, 2),
            *(float(ctx.rate), float(threshold), ctx.window, ctx.needs_input_grad[1]),
        )
        return of_x.permute(0, 1, 4, 2, 3), of_rate, None, None, None, None


def square_window(pool: nn.Module) -> Window | None:
    """Kernel, stride and padding of a square max pooling without hooks; None for any other module."""
    if type(pool) is not nn.MaxPool2d or pool.dilation != 1 or pool.ceil_mode or pool.return_indices:
        return None
    window = (pool.kernel_size, pool.stride, pool.padding)
    square = all(isinstance(size, int) for size in window)
    return window if square and not has_forward_hooks(pool) else None  # type: ignore[return-value]


class _Detached(torch.autograd.Function):
    """``_forward`` and its derivative with a constant state: a pointwise expression over all steps."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep_membrane: bool
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(x, threshold, rate if isinstance(rate, Tensor) else None)
        ctx.rate, ctx.dynamics = None if isinstance(rate, Tensor) else rate, dynamics
        out, membrane = _forward(x, rate, threshold, dynamics, keep_membrane)
        if membrane is not None:
            ctx.mark_non_differentiable(membrane)
        return out, membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, threshold, saved_rate = ctx.saved_tensors
        rate = ctx.rate if saved_rate is None else saved_rate
        of_x, of_rate = _backward(grads[0], x, rate, threshold, ctx.dynamics, ctx.needs_input_grad[1])
        return of_x, of_rate, None, None, None


def _forward(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, keep_membrane: bool
) -> tuple[Tensor, Tensor | None]:
    if not keep_membrane and (kernel := _kernel(x, threshold, dynamics)):
        return kernel.spikes(x, float(rate), float(threshold), empty_like_steps(x)), None
    if keep_membrane or not (worth(x) and has_dense_steps(x)):
        out, membrane = empty_like_steps(x), empty_like_steps(x) if keep_membrane else None
        run(x, rate, threshold, dynamics, None, out, membrane)
        return out, membrane
    carry, chunks = _first_carry(x, dynamics), []
    for chunk in x.split(UNROLLED):
        key = (dynamics, len(chunk), x.dtype, carry is None)
        out, carry = compiled_run(key, flat(chunk), rate, threshold, dynamics, carry, None, None)
        chunks.append(out)
    return unflat(_concatenated(chunks), x), None


def _backward(
    grad: Tensor, x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, learned: bool
) -> tuple[Tensor, Tensor | None]:
    kernel = _kernel(x, threshold, dynamics)
    if kernel is None and not (worth(x) and has_dense_steps(x)):
        out = empty_like_steps(x)
        of_x, of_rate, _ = gradients(grad, x, rate, threshold, dynamics, learned, None, out)
        return of_x, of_rate
    if not has_dense_steps(grad) or grad.stride()[1:] != x.stride()[1:]:
        grad = empty_like_steps(x).copy_(grad)
    if kernel is not None:
        of_x, of_rate, _ = kernel.gradients(grad, x, float(rate), float(threshold), learned, empty_like_steps(x))
        return of_x, of_rate
    carry, along_x, along_rate = _first_carry(x, dynamics), [], []
    for chunk_grad, chunk in zip(grad.split(UNROLLED), x.split(UNROLLED), strict=True):
        key = (dynamics, len(chunk), x.dtype, learned, carry is None)
        of_x, of_rate, carry = compiled_gradients(
            key, flat(chunk_grad), flat(chunk), rate, threshold, dynamics, learned, carry, None
        )
        along_x.append(of_x)
        along_rate.append(of_rate)
    return unflat(_concatenated(along_x), x), functools.reduce(torch.add, along_rate) if learned else None


def _kernel(x: Tensor, threshold: Tensor, dynamics: Dynamics) -> Kernel | None:
    """The kernel in C++, if there is one for these dynamics and it computes x."""
    kernel = dynamics.kernel
    return kernel if kernel is not None and kernel.applies(x, threshold) and has_dense_steps(x) else None


def _first_carry(x: Tensor, dynamics: Dynamics) -> Carry | None:
    """A state of zero, where x is more than one chunk."""
    if len(x) <= UNROLLED:
        return None
    v = x.new_zeros(x[0].numel())
    return v, dynamics.start(v)


def _concatenated(chunks: list[Tensor]) -> Tensor:
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


# The loops over time, which are also compiled.


def _steps(
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    carried: Carry | None,
    out_u: Sequence[Tensor] | Tensor | None,
    out_s: Sequence[Tensor] | Tensor | None,
) -> Iterator[tuple[Tensor | None, Tensor, Tensor, Carry]]:
    """dv/drate, u[t], s[t] and the state after each step; ``out_u`` and ``out_s`` receive u and s if given."""
    if carried is None:
        v = torch.zeros_like(x[0])
        state = dynamics.start(v)
    else:
        v, state = tree_map_only(Tensor, torch.clone, carried)  # a step may work in place
    for t in range(x.shape[0]):
        v, drive = dynamics.charge(x[t], v, rate)
        u = dynamics.centre(v, threshold, state, None if out_u is None else out_u[t])
        s = dynamics.emit(v, u, threshold, None if out_s is None else out_s[t])
        v = dynamics.reset(v, s)
        state = dynamics.adapt(state, s)
        yield drive, u, s, (v, state)


def run(
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    carried: Carry | None,
    out: Tensor | None,
    membrane: Tensor | None,
) -> tuple[Tensor, Carry | None]:
    """The spikes of a chunk, into ``out`` if given, and the state after it; ``membrane`` receives v."""
    chunk, carry = [], carried
    steps = _steps(x, rate, threshold, dynamics, carried, None if out is None else _one_step(x), out)
    for t, (_, _, s, after) in enumerate(steps):
        chunk.append(s)
        if membrane is not None:
            membrane[t] = after[0]
        if carried is not None:
            carry = after
    return torch.stack(chunk) if out is None else out, carry


def gradients(
    grad: Tensor,
    x: Tensor,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    learned: bool,
    carried: Carry | None,
    out: Tensor | None,
) -> tuple[Tensor, Tensor | None, Carry | None]:
    """The gradients of x and of a learned rate. The steps run again: storing u would cost more."""
    centred, drives, carry = [], [], carried
    steps = _steps(x, rate, threshold, dynamics, carried, out, None if out is None else _one_step(x))
    for drive, u, _, after in steps:
        centred.append(u)
        if learned and drive is not None:
            drives.append(drive)
        if carried is not None:
            carry = after
    u = torch.stack(centred) if out is None else out
    of_x, of_rate = dynamics.backward(grad, u, threshold, rate, torch.stack(drives) if drives else None)
    return of_x, of_rate, carry


def _one_step(x: Tensor) -> Sequence[Tensor]:
    """Memory for one step that all of them share."""
    return [torch.empty_like(x[0])] * len(x)


def _pool(
    x: Tensor, rate: Rate, threshold: Tensor, dynamics: Dynamics, window: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Max pooling of each image of spikes: ``[T, B, H, W, C] -> [T, B, H / s, W / s, C]``.

    The T spikes of a unit are the bits of one integer, and a maximum of spikes is the OR of their bits. So the
    memory between neuron and pooling is 1 / T of the spikes'. It is returned so that it is computed only once.
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


compiled_run = Compiled("scmrl::neuron", run)
compiled_gradients = Compiled("scmrl::neuron_backward", gradients)
_compiled_pool = Compiled("scmrl::neuron_and_pooling", _pool)
