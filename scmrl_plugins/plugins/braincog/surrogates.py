"""Surrogate derivatives by name: a fixed table, so that no name is ever evaluated.

Each is BrainCog's, with its rule at a tie: whether u = 0 fires. ``u`` is membrane minus threshold, ``alpha``
the slope; each function returns ``grad * h'(u)``, h' standing in for the derivative of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SurrogateName = Literal["sigmoid", "atan", "gate", "quadratic-gate", "relu"]


def _sigmoid(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return torch.ops.aten.sigmoid_backward(grad, (u * alpha).sigmoid_()).mul_(alpha)


def _atan(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return grad / (u * (alpha * math.pi / 2)).square_().add_(1) * (alpha / 2)


def _gate(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return torch.where(u.abs() < 1 / alpha, grad, 0)


def _quadratic_gate(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return grad * (alpha - alpha * alpha * u.abs()).clamp_min_(0)


def _relu(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return torch.where(u > 0, grad * alpha, 0)


@dataclass(frozen=True)
class Surrogate:
    """``backward(grad, u, alpha)`` is grad h'(u); ``tie``: whether H(0) = 1; ``braincog``: the class there."""

    braincog: str
    backward: Callable[[Tensor, Tensor, float], Tensor]
    tie: bool


SURROGATES: dict[str, Surrogate] = {
    "sigmoid": Surrogate("SigmoidGrad", _sigmoid, tie=True),
    "atan": Surrogate("AtanGrad", _atan, tie=False),
    "gate": Surrogate("GateGrad", _gate, tie=False),
    "quadratic-gate": Surrogate("QGateGrad", _quadratic_gate, tie=False),
    "relu": Surrogate("ReLUGrad", _relu, tie=True),
}
