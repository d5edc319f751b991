"""Prototypical modal rebalance (PMR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES, OTHER, Context, Modality, Modulation, TrainingPass
from scmrl_plugins.plugins.modulations.base import Scheduled

_EPS = 1e-12
"""Added to squared distances: the root of 0 has no gradient."""


class Prototypes(Modulation):
    """L + alpha sum_m w_m CE(-d_m, y), d_m,k = |f_m - c_m,k| the distance to the prototype of class k.

    With q_m = softmax(-d_m) and rho_m = sum_i q_m,i[y_i] / sum_i q_other,i[y_i], the modality that lags behind is
    drawn to its prototypes: w_m = clip(rho_other - 1, 0, 1), or with ``weight = "switch"``, as in the public
    code, 1 where rho_m < 1 and else 0. Before each epoch the prototypes become (1 - momentum) n + momentum c, n
    the means of f_m by class over a share of the training batches in evaluation mode; at first n. A class that is
    not among them keeps its prototype; without one, its samples and its distance are left out. The entropy term
    of the paper's first epochs is not in its code and not here. Source: arXiv 2211.07089.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"prototypes"})

    class Config(Scheduled):
        alpha: float = Field(1.0, ge=0, description="weight of the distances to prototypes")
        weight: Literal["clip", "switch"] = Field(
            "clip",
            description="clip: by how far a modality lags behind, as in the paper; switch: 1 for the one behind",
        )
        momentum: float = Field(0.2, ge=0, lt=1, description="share of a prototype that stays from epoch to epoch")
        share: float = Field(
            0.1, gt=0, le=1, description="share of the training batches that prototypes are means of"
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.config = config
        for name in MODALITIES:
            self.register_buffer(name, torch.zeros(context.num_classes, context.embed_dims))
        self.register_buffer("known", torch.zeros(context.num_classes, dtype=torch.bool))
        self.known: Tensor
        """Whether a class has a prototype, ``[K]``."""

    @property
    def observes(self) -> float:
        return self.config.share

    @torch.no_grad()
    def observe(self, features: Mapping[Modality, Tensor], target: Tensor) -> None:
        counts = torch.bincount(target, minlength=len(self.known))
        seen = counts > 0
        for name in MODALITIES:
            old = self.get_buffer(name)
            sums = torch.zeros_like(old).index_add(0, target, features[name].to(old))
            means = sums / counts.clamp_min(1).to(old).unsqueeze(1)
            kept = torch.where(self.known, self.config.momentum, 0.0).to(old).unsqueeze(1)
            old.copy_(torch.where(seen.unsqueeze(1), torch.lerp(means, old, kept), old))
        self.known |= seen

    def forward(self, batch: TrainingPass) -> Tensor:
        loss = batch.objective()
        if not (self.config.applies(batch.step) and self.known.any()):
            return loss
        logs = {name: self.log_q(batch.features[name], self.get_buffer(name)) for name in MODALITIES}
        # Of a class without a prototype, log q is -inf.
        counted = {name: batch.of_target(log).isfinite() for name, log in logs.items()}
        sums = {name: batch.of_target(log.detach().exp()).sum() for name, log in logs.items()}
        for name, log in logs.items():
            if bool(counted[name].any()):
                weight = self.weight(sums[OTHER[name]], sums[name])
                loss = loss - self.config.alpha * weight * batch.of_target(log)[counted[name]].mean()
        return loss

    def log_q(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """log softmax_k(-|f - c_k|) over the classes with a prototype, ``[B, K]``."""
        squares = (features.unsqueeze(1) - prototypes.to(features)).square().sum(2)
        distances = (squares + _EPS).sqrt()
        return (-distances).masked_fill(~self.known, -torch.inf).log_softmax(1)

    def weight(self, other: Tensor, own: Tensor) -> float:
        """w_m from the scores sum_i q_i[y_i] of the other modality and of this one."""
        if self.config.weight == "switch":
            return float(other > own)
        return float((other / own.clamp_min(1e-30) - 1).clamp(0, 1))
