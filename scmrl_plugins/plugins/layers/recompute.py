"""Less memory for more time: modules computed again in the backward pass, and a few samples at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scmrl_plugins.core.system.private import BatchNorm

CHUNK = 1 << 21
"""float32 values processed at once in chunks: as many as fit the last-level cache of a CPU."""


def checkpointed(module: nn.Module, *inputs: Any, recompute: bool) -> Tensor:
    """``module(*inputs)``; with ``recompute`` its activations are not stored but computed again for the gradient.

    Gradients and the running statistics of batch norm are the same either way.
    """
    if not (recompute and torch.is_grad_enabled()):
        return module(*inputs)

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), _unchanged_statistics(module)

    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """Within it, batch norms update copies of their running statistics."""
    norms = [norm for norm in module.modules() if isinstance(norm, BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """``function(x)`` for ``x [T, B, *]``, a few samples at a time where ``size``, the values a sample, is large.

    Intermediate results then stay in the CPU's cache. For the gradient they are computed again, not stored.
    """
    samples = max(1, CHUNK // size)
    if samples >= x.shape[1]:
        return function(x)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return Join.apply(*(function(chunk) for chunk in x.split(samples, dim=1)))
    return Join.apply(*(checkpoint(function, chunk, use_reentrant=False) for chunk in Split.apply(x, samples)))


# The gradients of torch's own split and cat are contiguous, not in the layout of their inputs.


class Split(torch.autograd.Function):
    """``x [T, B, C, H, W]`` in chunks of a number of samples, as views."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, samples: int) -> tuple[Tensor, ...]:
        return x.split(samples, dim=1)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _joined(grads), None


class Join(torch.autograd.Function):
    """Chunks ``[T, b, C, H, W]`` as one ``[T, B, C, H, W]``."""

    @staticmethod
    def forward(ctx: Any, *chunks: Tensor) -> Tensor:
        ctx.samples = [chunk.shape[1] for chunk in chunks]
        return _joined(chunks)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return tuple(_joined([grad]) for grad in grads[0].split(ctx.samples, dim=1))


def _joined(chunks: Sequence[Tensor]) -> Tensor:
    """The chunks side by side, one image after the other in memory, each in its own layout."""
    first = chunks[0]
    samples = [chunk.shape[1] for chunk in chunks]
    last = first[0].is_contiguous(memory_format=torch.channels_last)
    joined = torch.empty(
        (len(first) * sum(samples), *first.shape[2:]),
        dtype=first.dtype,
        device=first.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    ).unflatten(0, (len(first), -1))
    for target, chunk in zip(joined.split(samples, dim=1), chunks, strict=True):
        target.copy_(chunk)
    return joined
