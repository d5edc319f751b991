"""Batch norm, neuron and pooling in one pass over memory, where the membrane is detached: on the CPU, in C++."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scmrl_plugins.core.system.private import BatchNorm, has_hooks
from scmrl_plugins.plugins.kernels.neuron import POOLED_STEPS, Kernel, Window
from scmrl_plugins.plugins.kernels.norm import Norm
from scmrl_plugins.plugins.neurons.dynamics import Dynamics, Rate
from scmrl_plugins.plugins.neurons.fused import square_window


def normalized_spikes(
    y: Tensor,
    bn: nn.Module,
    rate: Rate,
    threshold: Tensor,
    dynamics: Dynamics,
    pool: nn.Module | None,
    steps: int,
) -> Tensor | None:
    """``pool`` of each step's spikes for the currents bn(y): ``[T or 1, B, C, *] -> [T, B, C, *]``, T = ``steps``.

    One step stands for T equal ones, also in the running statistics, which are updated as by torch. Only y is
    stored for the gradient. ``None`` unless the kernel in C++ computes it: for a plain batch norm that nothing
    observes, and y with adjacent channels.
    """
    kernel, window = dynamics.kernel, None if pool is None else square_window(pool)
    if kernel is None or (pool is not None and (window is None or steps > POOLED_STEPS)):
        return None
    last = y.movedim(2, -1)
    if not (last.is_contiguous() and kernel.applies(y, threshold) and _is_plain(bn, y)):
        return None
    norm = _norm(bn, last, steps // len(y))
    spikes = _Normalized.apply(last, bn.weight, bn.bias, rate, threshold, kernel, norm, window, steps)
    return spikes.movedim(-1, 2)


def _is_plain(bn: nn.Module, y: Tensor) -> TypeGuard[BatchNorm]:
    """Whether it is torch's batch norm, in the type of y, without hooks, and y is enough for it."""
    if type(bn) not in (nn.BatchNorm1d, nn.BatchNorm2d) or has_hooks(bn):
        return False
    held = [*bn.parameters(), *(x for x in (bn.running_mean, bn.running_var) if x is not None)]
    return y.numel() > y.shape[2] and all(x.dtype == y.dtype and x.device == y.device for x in held)


@torch.no_grad()
def _norm(bn: BatchNorm, last: Tensor, repeats: int) -> Norm:
    """That of ``bn`` for ``last [T or 1, B, *, C]``, whose batch is repeated; updates the running statistics."""
    if not bn.training and bn.running_mean is not None and bn.running_var is not None:
        return Norm.of_statistics(bn.running_mean, bn.running_var, bn.weight, bn.bias, bn.eps)
    norm = Norm.of_batch(last, bn.weight, bn.bias, bn.eps)
    if bn.training and bn.running_mean is not None and bn.running_var is not None:
        assert bn.num_batches_tracked is not None
        bn.num_batches_tracked.add_(1)
        momentum = 1 / int(bn.num_batches_tracked) if bn.momentum is None else bn.momentum
        n = repeats * (last.numel() // last.shape[-1])
        bn.running_mean.lerp_(norm.mean, momentum)
        bn.running_var.lerp_(norm.variance * (n / (n - 1)), momentum)
    return norm


class _Normalized(torch.autograd.Function):
    """``y [T or 1, B, *, C]`` to spikes ``[T, B, *, C]``, pooled if there is a window."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        rate: Rate,
        threshold: Tensor,
        kernel: Kernel,
        norm: Norm,
        window: Window | None,
        steps: int,
    ) -> Tensor:
        ctx.save_for_backward(y)
        ctx.rate, ctx.threshold = float(rate), float(threshold)
        ctx.kernel, ctx.norm, ctx.window = kernel, norm, window
        if window is not None:
            return kernel.pooled(y, ctx.rate, ctx.threshold, window, steps, norm)
        return kernel.spikes(y, ctx.rate, ctx.threshold, y.new_empty((steps, *y.shape[1:])), norm)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (y,), grad = ctx.saved_tensors, grads[0]
        given, learned = (y, ctx.rate, ctx.threshold), ctx.needs_input_grad[3]
        if ctx.window is not None:
            of_y, of_rate, sums = ctx.kernel.pooled_gradients(
                grad.contiguous(), *given, ctx.window, learned, ctx.norm
            )
        else:
            # Of a mean over steps the gradient is the same in each, one in memory.
            grad = grad if grad[0].is_contiguous() else grad.contiguous()
            of_y, of_rate, sums = ctx.kernel.gradients(grad, *given, learned, torch.empty_like(y), ctx.norm)
        of_weight, of_bias = ctx.norm.gradients(y, sums, of_y)
        wanted = [
            x if needed else None
            for x, needed in zip((of_weight, of_bias), ctx.needs_input_grad[1:3], strict=True)
        ]
        return of_y, *wanted, of_rate, None, None, None, None, None
