"""Surrogate derivatives by name: a fixed table, so that no name is ever evaluated.

``u`` is membrane minus threshold, ``alpha`` the slope: the larger, the narrower. H(0) is the rule at a tie,
whether u = 0 fires. The area under h' is 1 where h goes from 0 to 1, as the step does.

================  =======================================  ====  ==========  =========================
name              h'(u)                                    H(0)  area        source
================  =======================================  ====  ==========  =========================
sigmoid           alpha g (1 - g), g = 1/(1 + e^-alpha u)  1     1           BrainCog ``SigmoidGrad``
atan              alpha / (2 + 2 (pi alpha u / 2)^2)       0     1           BrainCog ``AtanGrad``
gate              1 where |u| < 1/alpha, else 0            0     2/alpha     BrainCog ``GateGrad``
quadratic-gate    alpha max(0, 1 - |alpha u|)              0     1           BrainCog ``QGateGrad``
relu              alpha where u > 0, else 0                1     unbounded   BrainCog ``ReLUGrad``
triangle          max(0, 1 - |alpha u|)                    0     1/alpha     arXiv 1803.09574 (1)
fast-sigmoid      1 / (1 + alpha |u|)^2                    0     2/alpha     arXiv 1705.11146 (2)
gaussian          alpha e^(-(alpha u)^2 / 2) / sqrt(2 pi)  1     1           arXiv 1706.02609 (3)
================  =======================================  ====  ==========  =========================

(1) Bellec et al. 2018, after Esser et al. 2016, with u in units of the threshold and without the dampening factor;
its height is 1 whatever the slope, where ``quadratic-gate``, the same shape, keeps its area. (2) SuperSpike, Zenke
& Ganguli 2018. (3) STBP, Wu et al. 2018, their curve h4 with variance 1/alpha^2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scmrl_plugins.plugins.neurons.upstream import surrogate as braincogs

SurrogateName = Literal[
    "sigmoid", "atan", "gate", "quadratic-gate", "relu", "triangle", "fast-sigmoid", "gaussian"
]


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


def _triangle(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return (u * alpha).abs_().neg_().add_(1).clamp_min_(0).mul_(grad)


def _fast_sigmoid(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return grad / (u * alpha).abs_().add_(1).square_()


def _gaussian(grad: Tensor, u: Tensor, alpha: float) -> Tensor:
    return (u * alpha).square_().mul_(-0.5).exp_().mul_(alpha / math.sqrt(2 * math.pi)).mul_(grad)


@dataclass(frozen=True)
class Surrogate:
    """A step function H(u) and its surrogate derivative h'(u)."""

    name: SurrogateName
    braincog: str | None
    """BrainCog's class of the same surrogate, if any."""
    backward: Callable[[Tensor, Tensor, float], Tensor]
    """``(grad, u, alpha)`` to grad h'(u)."""
    tie: bool
    """Whether H(0) = 1."""

    def step(self, u: Tensor, out: Tensor | None = None) -> Tensor:
        """H(u) in the type of u, directly into ``out`` if given: intermediate booleans are slow on a CPU."""
        fires = torch.ge if self.tie else torch.gt
        return fires(u, 0).to(u.dtype) if out is None else fires(u, 0, out=out)

    @property
    def act_fun(self) -> Callable[..., Any]:
        """The ``act_fun`` of BrainCog's nodes: BrainCog's class, or a ``Firing`` where BrainCog has none."""
        if self.braincog is not None:
            return getattr(braincogs, self.braincog)
        return functools.partial(Firing, self)


_ALL = (
    Surrogate("sigmoid", "SigmoidGrad", _sigmoid, tie=True),
    Surrogate("atan", "AtanGrad", _atan, tie=False),
    Surrogate("gate", "GateGrad", _gate, tie=False),
    Surrogate("quadratic-gate", "QGateGrad", _quadratic_gate, tie=False),
    Surrogate("relu", "ReLUGrad", _relu, tie=True),
    Surrogate("triangle", None, _triangle, tie=False),
    Surrogate("fast-sigmoid", None, _fast_sigmoid, tie=False),
    Surrogate("gaussian", None, _gaussian, tie=True),
)
SURROGATES: dict[str, Surrogate] = {one.name: one for one in _ALL}


class Fire(torch.autograd.Function):
    """H(u) with the surrogate's derivative: ``Fire.apply(u, alpha, surrogate)``, ``u`` of any shape."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, alpha: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.alpha, ctx.surrogate = alpha, surrogate
        return surrogate.step(u, None if torch.compiler.is_exporting() else torch.empty_like(u))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return ctx.surrogate.backward(grads[0], u, ctx.alpha), None, None


class Firing(braincogs.SurrogateFunctionBase):
    """H(u) with a surrogate derivative that BrainCog lacks, as a surrogate module for BrainCog's nodes.

    The slope ``alpha`` is a parameter, as BrainCog's tools read and set it there, but it is never learned.
    """

    def __init__(self, surrogate: Surrogate, alpha: float = 2.0, requires_grad: bool = False) -> None:
        super().__init__(alpha, requires_grad=False)
        self.surrogate = surrogate

    def forward(self, u: Tensor) -> Tensor:
        return Fire.apply(u, self.alpha, self.surrogate)
