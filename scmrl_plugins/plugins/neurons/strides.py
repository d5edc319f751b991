"""Memory layouts of ``[T, B, *]``: a step of any dense layout becomes a row, so that one loop serves them all."""

from __future__ import annotations

import torch
from torch import Tensor


def empty_like_steps(x: Tensor) -> Tensor:
    """An uninitialised tensor with contiguous steps, each in the layout of x's."""
    step = x[0]
    strides = step.stride() if has_dense_steps(x) else torch.empty_like(step).stride()
    return x.new_empty_strided(x.shape, (step.numel(), *strides))


def has_dense_steps(x: Tensor) -> bool:
    """Whether each step of x covers its memory without gaps or overlaps."""
    covered = 1
    for stride, size in sorted(zip(x.stride()[1:], x.shape[1:], strict=True)):
        if size > 1:
            if stride != covered:
                return False
            covered *= size
    return True


def flat(x: Tensor) -> Tensor:
    """``[T, M]`` over the memory of an x with dense steps."""
    return without_base(x.as_strided((len(x), x[0].numel()), (x.stride(0), 1)))


def without_base(x: Tensor) -> Tensor:
    """The same memory as a tensor that is not a view: of a view, the compiler inspects the base."""
    return x.new_empty(0).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


def unflat(rows: Tensor, x: Tensor) -> Tensor:
    """``[T, M]`` in the shape and layout of x; the inverse of ``flat``."""
    return rows.as_strided(x.shape, (x[0].numel(), *x.stride()[1:]))
