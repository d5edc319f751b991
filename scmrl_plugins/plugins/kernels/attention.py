"""Attention without softmax on the CPU, forward and backward, without a copy by head.

    out = q (k^T v) s,  gradients of q: g (k^T v)^T s, of v: k (q^T g) s, of k: v (q^T g)^T s

for each group of rows that attend to one another: the tokens of a step, or the steps of a token. k^T v and q^T g
are matrices of a head's channels, which stay in the L1 cache. For spikes the sums are exact in any order.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scmrl_plugins.plugins.kernels import compiled
from scmrl_plugins.plugins.kernels.library import call, library

TILE, WIDEST = 8, 32
"""Heads have a multiple of so many channels, and at most so many, as in attention.cpp: products of larger matrices
are as fast one by one."""
ELEMENTS = 1 << 12
"""Smaller tensors, as in unit tests, run op by op: they do not recover the start of the compiler."""

Over = Literal["tokens", "steps"]

_source = Path(__file__).with_suffix(".cpp")


def attend(q: Tensor, k: Tensor, v: Tensor, over: Over, heads: int, scale: float) -> Tensor | None:
    """q (k^T v) s, head by head: ``[T, B, D, N], [T, B, D, M], [T, B, D, M] -> [T, B, D, N]``.

    Over ``tokens`` the N tokens of a step attend to the M of the same step, over ``steps`` the steps of a token to
    one another, N = M. ``None`` unless the channels of each token are adjacent, or if it is not faster.
    """
    by_token = [x.mT for x in (q, k, v)]
    if not (
        q.device.type == "cpu"
        and all(x.is_contiguous() and x.dtype == q.dtype for x in by_token)
        and (size := q.shape[2] // heads) <= WIDEST
        and size % TILE == 0
        and compiled.worth(q, least=ELEMENTS)
        and library(_source, q.dtype) is not None
    ):
        return None
    return _Attend.apply(*by_token, over, heads, scale).mT


class _Attend(torch.autograd.Function):
    """``[T, B, N, D], [T, B, M, D], [T, B, M, D] -> [T, B, N, D]``."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, over: Over, heads: int, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.attention = _attention(q, k, over, heads, scale)
        out = torch.empty_like(q)
        _call("forward", ctx.attention, q, k, v, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        gradients = [torch.empty_like(x) for x in given]
        _call("gradients", ctx.attention, grads[0].contiguous(), *given, *gradients)
        return *gradients, None, None, None


class _Attention(ctypes.Structure):
    """As in attention.cpp."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("groups", "heads", "size", "queries", "keys")),
        *((name, ctypes.c_long) for name in ("query_group", "query_row", "key_group", "key_row", "threads")),
        ("scale", ctypes.c_double),
    )


def _attention(q: Tensor, k: Tensor, over: Over, heads: int, scale: float) -> _Attention:
    steps, batch, tokens, dims = q.shape
    if over == "tokens":
        keys = k.shape[2]
        sizes = (steps * batch, heads, dims // heads, tokens, keys)
        apart = (tokens * dims, dims, keys * dims, dims)
    else:
        sizes = (batch * tokens, heads, dims // heads, steps, steps)
        apart = (dims, batch * tokens * dims) * 2
    return _Attention(*sizes, *apart, torch.get_num_threads(), scale)


def _call(name: str, attention: _Attention, x: Tensor, *args: Tensor) -> None:
    call(_source, x.dtype, f"attention_{name}", attention, x, *args)
