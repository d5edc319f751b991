"""Surrogate derivatives by name: a fixed table, so that no name is ever evaluated.

Each is BrainCog's, with its rule at a tie: whether u = 0 fires. ``u`` is membrane minus threshold, ``alpha``
the slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SurrogateName = Literal["sigmoid", "atan", "gate", "quadratic-gate", "relu"]


def _sigmoid(u: Tensor, alpha: Tensor) -> Tensor:
    s = torch.sigmoid(alpha * u)
    return s * (1 - s) * alpha


def _atan(u: Tensor, alpha: Tensor) -> Tensor:
    return alpha / 2 / (1 + (alpha * math.pi / 2 * u).square())


def _gate(u: Tensor, alpha: Tensor) -> Tensor:
    return (u.abs() < 1.0 / alpha).to(u.dtype)


def _quadratic_gate(u: Tensor, alpha: Tensor) -> Tensor:
    return (alpha - alpha * alpha * u.abs()).masked_fill(u.abs() > 1 / alpha, 0)


def _relu(u: Tensor, alpha: Tensor) -> Tensor:
    return u.gt(0).to(u.dtype) * alpha


@dataclass(frozen=True)
class Surrogate:
    """``derivative(u, alpha)`` stands in for the derivative of the step; ``tie`` says whether H(0) = 1."""

    braincog: str
    derivative: Callable[[Tensor, Tensor], Tensor]
    tie: bool


SURROGATES: dict[str, Surrogate] = {
    "sigmoid": Surrogate("SigmoidGrad", _sigmoid, tie=True),
    "atan": Surrogate("AtanGrad", _atan, tie=False),
    "gate": Surrogate("GateGrad", _gate, tie=False),
    "quadratic-gate": Surrogate("QGateGrad", _quadratic_gate, tie=False),
    "relu": Surrogate("ReLUGrad", _relu, tie=True),
}
