"""All time steps of an integrate-and-fire neuron in one pass over memory on the CPU, as neuron.cpp computes them.

    v[t] = charge(x[t], v[t-1]),  s[t] = H(v[t] - threshold),  v[t] = v[t] (1 - s[t])

The gradient takes v[t-1] as a constant. Spikes have the bits of the same operations one by one; gradients may
differ in the last bits where the surrogate has an exponential.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from scmrl_plugins.plugins.kernels import compiled
from scmrl_plugins.plugins.kernels.library import call, library

ELEMENTS = 1 << 12
"""Smaller tensors, as in unit tests, run op by op: they do not recover the start of the compiler."""
POOLED_STEPS = 32
"""The spikes of so many steps fit the bits of the integers that are pooled."""

Charge = Literal["divide", "multiply", "add"]
Window = tuple[int, int, int]
"""Kernel, stride and padding of a pooling."""

# As in neuron.cpp.
BLOCK = 512
CHARGES = ("divide", "multiply", "add")
SURROGATES = ("sigmoid", "atan", "gate", "quadratic-gate", "relu", "triangle", "fast-sigmoid", "gaussian")

_source = Path(__file__).with_suffix(".cpp")


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
            and library(_source) is not None
        )

    def spikes(self, x: Tensor, rate: float, threshold: float, out: Tensor) -> Tensor:
        """``x [T, *] -> s [T, *]``, in ``out``, whose steps have the layout of those of x, without gaps."""
        self._call("spikes", x, rate, threshold, out)
        return out

    def gradients(
        self, grad: Tensor, x: Tensor, rate: float, threshold: float, learned: bool, out: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Of x, in ``out``, and of the rate if it is ``learned``: ``grad, x [T, *] -> [T, *], []``.

        The steps of all three have the same layout, those of ``out`` without gaps.
        """
        of_rate = torch.empty(math.ceil(x[0].numel() / BLOCK), dtype=torch.float64)
        self._call("gradients", x, rate, threshold, grad, grad.stride(0), out, of_rate, learned=learned)
        return out, of_rate.sum() if learned else None

    def pooled(self, x: Tensor, rate: float, threshold: float, window: Window, steps: int) -> Tensor:
        """Max pooling of each image of spikes, ``[T or 1, B, H, W, C] -> [T, B, H / s, W / s, C]``.

        One step stands for ``steps`` equal ones, T, at most ``POOLED_STEPS``.
        """
        out = x.new_empty(_pooled_shape(x, window, steps))
        self._call("pooled", x, rate, threshold, _Pooling(*x.shape[1:], *window), out, steps=steps)
        return out

    def pooled_gradients(
        self, grad: Tensor, x: Tensor, rate: float, threshold: float, window: Window, learned: bool
    ) -> tuple[Tensor, Tensor | None]:
        """``grad [T, B, H / s, W / s, C], x [T or 1, B, H, W, C] -> [T or 1, B, H, W, C], []``.

        As torch's, the gradient of a maximum is that of the first spike in its window, or else of the first unit.
        """
        of_x = x.new_empty(x.shape)
        of_rate = torch.empty(x.shape[1], dtype=torch.float64)
        pooling = _Pooling(*x.shape[1:], *window)
        self._call(
            *("pooled_gradients", x, rate, threshold, pooling, grad, of_x, of_rate),
            learned=learned,
            steps=len(grad),
        )
        return of_x, of_rate.sum() if learned else None

    def _call(
        self,
        name: str,
        x: Tensor,
        rate: float,
        threshold: float,
        *args: Any,
        learned: bool = False,
        steps: int | None = None,
    ) -> None:
        functions = library(_source)
        assert functions is not None
        charge = self.charge
        if charge == "divide" and math.frexp(rate)[0] == 0.5:  # a power of two, whose inverse is exact and faster
            charge, rate = "multiply", 1 / rate
        repeated = steps is not None and len(x) < steps
        neuron = _Neuron(
            *(steps or len(x), x[0].numel(), 0 if repeated else x.stride(0), torch.get_num_threads()),
            *(CHARGES.index(charge), SURROGATES.index(self.surrogate), self.tie, learned),
            *(rate, threshold, self.alpha),
        )
        call(functions, f"neuron_{name}", x.dtype, neuron, x, *args)


def _pooled_shape(x: Tensor, window: Window, steps: int) -> tuple[int, ...]:
    kernel, stride, padding = window
    high, wide = ((size + 2 * padding - kernel) // stride + 1 for size in x.shape[2:4])
    return steps, x.shape[1], high, wide, x.shape[4]


class _Neuron(ctypes.Structure):
    """As in neuron.cpp."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("steps", "units", "apart", "threads")),
        *((name, ctypes.c_long) for name in ("charge", "surrogate", "tie", "learned")),
        *((name, ctypes.c_double) for name in ("rate", "threshold", "alpha")),
    )


class _Pooling(ctypes.Structure):
    """As in neuron.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("images", "height", "width", "channels", "kernel", "stride", "padding")
    )
