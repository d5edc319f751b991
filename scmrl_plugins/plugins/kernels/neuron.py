"""All time steps of an integrate-and-fire neuron in one pass over memory on the CPU, as neuron.cpp computes them.

    v[t] = charge(x[t], v[t-1]),  s[t] = H(v[t] - threshold),  v[t] = v[t] (1 - s[t])

With a ``norm``, the current is that of x, whose last dimension are the channels. The gradient takes v[t-1] as a
constant. Spikes have the bits of the same operations one by one; gradients may differ in the last bits where the
surrogate has an exponential.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scmrl_plugins.plugins.kernels import compiled
from scmrl_plugins.plugins.kernels.library import call, library
from scmrl_plugins.plugins.kernels.norm import SOURCE, Norm

ELEMENTS = 1 << 12
"""Smaller tensors, as in unit tests, run op by op: they do not recover the start of the compiler."""
POOLED_STEPS = 32
"""The spikes of so many steps fit the bits of the integers that are pooled."""

Charge = Literal["divide", "multiply", "add"]
Window = tuple[int, int, int]
"""Kernel, stride and padding of a pooling."""
Gradients = tuple[Tensor, Tensor | None, Tensor]
"""Of x, of the rate where it is learned, and what ``Norm.gradients`` takes."""

# As in neuron.cpp.
PART = 16 * 512
CHARGES = ("divide", "multiply", "add")
SURROGATES = ("sigmoid", "atan", "gate", "quadratic-gate", "relu", "triangle", "fast-sigmoid", "gaussian")


@dataclass(frozen=True)
class Kernel:
    """A neuron that the library computes.

    ``charge``: v + (x - v) / rate, v + (x - v) rate, or v + x. ``surrogate``: its name; ``tie``: whether H(0) = 1.
    """

    charge: Charge
    surrogate: str
    tie: bool
    alpha: float

    def applies(self, x: Tensor, threshold: Tensor) -> bool:
        """Whether the library computes x; its steps must be dense."""
        return (
            x.device.type == "cpu"
            and x.dtype == threshold.dtype
            and compiled.worth(x, least=ELEMENTS)
            and library(SOURCE, x.dtype) is not None
        )

    def spikes(self, x: Tensor, rate: float, threshold: float, out: Tensor, norm: Norm | None = None) -> Tensor:
        """``x [T or 1, *] -> s [T, *]``, in ``out``, whose steps have the layout of those of x, without gaps.

        One step of x stands for T equal ones.
        """
        self._call("spikes", x, rate, threshold, norm, out, steps=len(out))
        return out

    def gradients(
        self,
        grad: Tensor,
        x: Tensor,
        rate: float,
        threshold: float,
        learned: bool,
        out: Tensor,
        norm: Norm | None = None,
    ) -> Gradients:
        """``grad [T, *], x [T or 1, *]`` to those of x, in ``out [T or 1, *]``, and of the rate if ``learned``.

        The steps of all three have the same layout, those of ``out`` without gaps.
        """
        shares = _shares(math.ceil(x[0].numel() / PART), norm)
        self._call(
            *("gradients", x, rate, threshold, norm, grad, grad.stride(0), out, *shares),
            learned=learned,
            steps=len(grad),
            shared=len(out) < len(grad),
        )
        return out, shares[0].sum() if learned else None, shares[1]

    def pooled(
        self, x: Tensor, rate: float, threshold: float, window: Window, steps: int, norm: Norm | None = None
    ) -> Tensor:
        """Max pooling of each image of spikes, ``[T or 1, B, H, W, C] -> [T, B, H / s, W / s, C]``.

        One step stands for ``steps`` equal ones, T, at most ``POOLED_STEPS``.
        """
        out = x.new_empty(_pooled_shape(x, window, steps))
        self._call("pooled", x, rate, threshold, norm, _Pooling(*x.shape[1:], *window), out, steps=steps)
        return out

    def pooled_gradients(
        self,
        grad: Tensor,
        x: Tensor,
        rate: float,
        threshold: float,
        window: Window,
        learned: bool,
        norm: Norm | None = None,
    ) -> Gradients:
        """``grad [T, B, H / s, W / s, C], x [T or 1, B, H, W, C]`` to the gradients of x and of the rate.

        As torch's, the gradient of a maximum is that of the first spike in its window, or else of the first unit.
        """
        of_x = x.new_empty(x.shape)
        shares = _shares(x.shape[1], norm)
        self._call(
            *("pooled_gradients", x, rate, threshold, norm, _Pooling(*x.shape[1:], *window), grad, of_x, *shares),
            learned=learned,
            steps=len(grad),
            shared=len(x) < len(grad),
        )
        return of_x, shares[0].sum() if learned else None, shares[1]

    def _call(
        self,
        name: str,
        x: Tensor,
        rate: float,
        threshold: float,
        norm: Norm | None,
        *args: Any,
        steps: int,
        learned: bool = False,
        shared: bool = False,
    ) -> None:
        charge = self.charge
        if charge == "divide" and math.frexp(rate)[0] == 0.5:  # a power of two, whose inverse is exact and faster
            charge, rate = "multiply", 1 / rate
        neuron = _Neuron(
            *(steps, x[0].numel(), 0 if len(x) < steps else x.stride(0), torch.get_num_threads()),
            *(CHARGES.index(charge), SURROGATES.index(self.surrogate), self.tie, learned, shared),
            *(rate, threshold, self.alpha),
        )
        given = None if norm is None else norm.argument()
        call(SOURCE, x.dtype, f"neuron_{name}", neuron, x, given, *args)


def _shares(parts: int, norm: Norm | None) -> tuple[Tensor, Tensor]:
    """Memory for what each part adds to the gradient of the rate, and by channel to those through a norm."""
    channels = 0 if norm is None else norm.channels
    return torch.empty(parts, dtype=torch.float64), torch.empty((parts, 2, channels), dtype=torch.float64)


def _pooled_shape(x: Tensor, window: Window, steps: int) -> tuple[int, ...]:
    kernel, stride, padding = window
    high, wide = ((size + 2 * padding - kernel) // stride + 1 for size in x.shape[2:4])
    return steps, x.shape[1], high, wide, x.shape[4]


class _Neuron(ctypes.Structure):
    """As in neuron.cpp."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("steps", "units", "apart", "threads")),
        *((name, ctypes.c_long) for name in ("charge", "surrogate", "tie", "learned", "shared")),
        *((name, ctypes.c_double) for name in ("rate", "threshold", "alpha")),
    )


class _Pooling(ctypes.Structure):
    """As in neuron.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("images", "height", "width", "channels", "kernel", "stride", "padding")
    )
