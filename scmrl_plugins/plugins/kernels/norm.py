"""Batch norm as a part of the neuron's pass over memory on the CPU, by the functions of neuron.cpp."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scmrl_plugins.plugins.kernels.library import call

SOURCE = Path(__file__).with_name("neuron.cpp")


@dataclass(frozen=True)
class Norm:
    """(x - mean) / sqrt(variance + eps) weight + bias, that is x scale + shift, of ``x [*, C]``.

    ``values [5, C]``: mean, 1 / sqrt(variance + eps), scale, shift and variance. ``fixed``: mean and variance do
    not depend on x.
    """

    values: Tensor
    fixed: bool

    @classmethod
    def of_batch(cls, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Norm:
        """With the mean and the biased variance of x."""
        norm = cls(x.new_empty((5, x.shape[-1])), fixed=False)
        norm._prepare(x, x.numel() // x.shape[-1], weight, bias, eps)
        return norm

    @classmethod
    def of_statistics(
        cls, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Norm:
        """With a given mean and variance."""
        norm = cls(mean.new_empty((5, len(mean))), fixed=True)
        norm.values[0], norm.values[4] = mean, variance
        norm._prepare(None, 0, weight, bias, eps)
        return norm

    @property
    def channels(self) -> int:
        """C."""
        return self.values.shape[1]

    @property
    def mean(self) -> Tensor:
        """``[C]``."""
        return self.values[0]

    @property
    def variance(self) -> Tensor:
        """``[C]``, biased for that of a batch."""
        return self.values[4]

    def gradients(self, x: Tensor, sums: Tensor, of_x: Tensor) -> tuple[Tensor, Tensor]:
        """Of weight and bias, ``[C]``, and of x in ``of_x``, in place of the gradient of the result.

        ``sums [parts, 2, C]``: by channel and part the sums of that gradient, and of its product with x - mean.
        """
        of_weight, of_bias = torch.empty_like(self.values[:2])
        rows = x.numel() // self.channels
        self._call(
            *("norm_gradients", x, sums, len(sums), rows, int(self.fixed)),
            *(torch.get_num_threads(), of_x, of_weight, of_bias),
        )
        return of_weight, of_bias

    def argument(self) -> ctypes.Structure:
        """The norm as the functions of neuron.cpp take it."""
        first, apart = self.values.data_ptr(), self.channels * self.values.element_size()
        return _Norm(self.channels, *(first + row * apart for row in range(5)))

    def _prepare(
        self, x: Tensor | None, rows: int, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> None:
        self._call("norm_prepare", x, rows, ctypes.c_double(eps), weight, bias, torch.get_num_threads())

    def _call(self, name: str, x: Tensor | None, *args: Tensor | int | ctypes.c_double | None) -> None:
        call(SOURCE, self.values.dtype, name, x, self.argument(), *args)


class _Norm(ctypes.Structure):
    """As in neuron.cpp."""

    _fields_ = (
        ("channels", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("mean", "rate", "scale", "shift", "variance")),
    )
