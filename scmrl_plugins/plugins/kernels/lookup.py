"""Convolutions of spikes on the CPU by table lookup of sums of weights, without multiplications.

In ``y[n] = sum_c W[n, c] s[c]`` four spikes select one of the 16 sums of four weights. The sums are computed once
for all pixels, so that a quarter of the additions and no multiplications remain. The same holds for the gradient
of W, the sum over pixels of ``s[c] g[n]``. This is the method of four Russians (Arlazarov, Dinic, Kronrod and
Faradzhev, 1970) for products of bit matrices. Results differ from other summation orders only by rounding.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from scmrl_plugins.plugins.kernels import compiled
from scmrl_plugins.plugins.kernels.library import call, library

# As in lookup.cpp: channels per block, bytes per block, and the maximum number of pixels in a row.
BLOCK, BYTES, PIXELS = 32, 8, 1024
# The gradient of W is summed in a fixed number of parts, so that it does not depend on the number of threads.
SHARES = 4

ELEMENTS = 1 << 17
"""From so many values on, a kernel of several pixels, for which spikes are packed once, is faster than another."""

_source = Path(__file__).with_suffix(".cpp")


class Packed(NamedTuple):
    """Images of spikes ``[B, C, H, W]``, four per byte, for a square ``kernel`` of odd size."""

    bits: Tensor
    shape: torch.Size
    kernel: int

    def call(self, name: str, x: Tensor, *args: Tensor | int | None) -> Any:
        """Call a function of the library for the type of x."""
        spikes = _Spikes(self.bits.data_ptr(), *self.shape, self.kernel, torch.get_num_threads())
        return call(_source, x.dtype, name, spikes, x, *args, result=ctypes.c_bool if name == "pack" else None)


class _Spikes(ctypes.Structure):
    """As in lookup.cpp."""

    _fields_ = (
        ("bytes", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("images", "channels", "height", "width", "kernel", "threads")),
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """``W * x + b``, for spikes ``x [B, C, H, W]`` and ``W [N, C, k, k]``: ``[B, N, H, W]``.

    k is odd, with zero padding and a stride of 1. ``None`` if x has other values or is not channels last, if an
    ordinary convolution is as fast, or if there is no compiler.
    """
    packed = _packed(x, weight)
    return None if packed is None else _Convolution.apply(x, weight, bias, packed)


def _packed(x: Tensor, weight: Tensor) -> Packed | None:
    last = x.permute(0, 2, 3, 1)
    if not (
        x.device.type == "cpu"
        and last.is_contiguous()
        and x.shape[3] <= PIXELS
        and x.dtype == weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and compiled.worth(x, *_pays(weight))
        and library(_source, x.dtype) is not None
    ):
        return None
    batch, channels, height, width = x.shape
    kernel = weight.shape[2]
    tall, wide = height + kernel - 1, 4 * math.ceil(width / 4) + kernel - 1
    bits = torch.zeros((math.ceil(channels / BLOCK), batch, tall, wide, BYTES), dtype=torch.uint8)
    packed = Packed(bits, x.shape, kernel)
    return packed if packed.call("pack", last) else None


def _pays(weight: Tensor) -> tuple[bool, int]:
    """Whether it has channels enough to be faster, and from how many values of the input on."""
    out, channels, kernel, _ = weight.shape
    if kernel == 1:
        return min(out, channels) >= BLOCK, compiled.ELEMENTS
    return out >= BLOCK and (channels >= BLOCK or channels == BLOCK // 2), ELEMENTS


class _Convolution(torch.autograd.Function):
    """The convolution with its gradients. Only the bits of the input are stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, packed: Packed) -> Tensor:
        ctx.save_for_backward(weight, packed.bits)
        ctx.sizes = packed[1:]
        batch, _, height, width = packed.shape
        out = x.new_empty((batch, height, width, len(weight)))
        packed.call("convolve", weight.permute(2, 3, 1, 0).contiguous(), bias, out, len(weight))
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        weight, bits = ctx.saved_tensors
        packed = Packed(bits, *ctx.sizes)
        last = grads[0].permute(0, 2, 3, 1).contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _of_input(packed.shape, weight, last)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(packed, weight, last)
        if ctx.needs_input_grad[2]:
            of_bias = last.sum((0, 1, 2))
        return of_x, of_weight, of_bias, None


def _of_input(shape: torch.Size, weight: Tensor, last: Tensor) -> Tensor:
    kernel = weight.shape[2]
    if kernel == 1:
        return (last @ weight.flatten(1)).permute(0, 3, 1, 2)
    return conv2d_input(shape, weight, last.permute(0, 3, 1, 2), padding=kernel // 2)


def _of_weight(packed: Packed, weight: Tensor, last: Tensor) -> Tensor:
    out, channels, kernel, _ = weight.shape
    batch, _, height, width = packed.shape
    pieces = math.ceil(batch * height * math.ceil(width / 4) / BYTES)
    inputs = kernel**2 * len(packed.bits) * BLOCK
    # Allocated here, so that a lack of memory raises a Python exception.
    chosen = packed.bits.new_empty((pieces, inputs, BYTES))
    sums = weight.new_empty((SHARES, math.ceil(out / BLOCK), inputs, BLOCK))
    by_input = weight.new_empty((kernel, kernel, channels, out))
    packed.call("correlate", last, by_input, out, chosen, sums, SHARES)
    return by_input.permute(3, 2, 0, 1)
