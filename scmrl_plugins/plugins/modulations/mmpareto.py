"""MMPareto: gradients of the joint and the unimodal losses, combined where they conflict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, Context, Gradients, Modulation, TrainingPass, TrainingStep
from scmrl_plugins.plugins.modulations.base import Scheduled


class Pareto(Modulation):
    """For an encoder and backbone with gradients u of the joint loss and w of its modality's CE(z_m):

        h = 2 c u + 2 (1 - c) w,  g <- gamma h max(1, |t| / |h|) for each weight,  t = u + all unimodal gradients

    c = 1/2 where <u, w> > 0 over all weights of the modality, so that g = gamma (u + w). Otherwise c is that of
    the shortest c u + (1 - c) w: <w - u, w> / |u - w|^2, or 0.999 if <u, w> >= |u|^2, or 0.001 if
    <u, w> >= |w|^2.
    z_m = W_m f_m + b_m are heads of the modulation. The rest of the model gets t. Source: arXiv 2405.17730.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"heads"})
    passes: ClassVar[tuple[int, int]] = (1, 3)

    class Config(Scheduled):
        gamma: float = Field(1.5, gt=0, description="factor of the gradients of encoders and backbones")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleDict(
            {name: nn.Linear(context.embed_dims, context.num_classes) for name in MODALITIES}
        )

    def forward(self, batch: TrainingPass) -> Mapping[str, Tensor]:
        losses = {"joint": batch.objective()}
        for name in MODALITIES:
            losses[name] = batch.cross_entropy(self.heads[name](batch.features[name]))
        return losses

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        total = dict(super().combine(gradients, step))
        if not self.config.applies(step):
            return total
        for name in MODALITIES:
            joint, alone = gradients["joint"][name], gradients[name][name]
            c = share(joint, alone)
            total[name] = {key: self.scaled(joint[key], alone[key], t, c) for key, t in total[name].items()}
        return total

    def scaled(self, u: Tensor, w: Tensor, t: Tensor, c: float) -> Tensor:
        """gamma h max(1, |t| / |h|), 0 where h is."""
        h = 2 * c * u + 2 * (1 - c) * w
        norm = h.norm()
        if not norm > 0:
            return torch.zeros_like(h)
        return self.config.gamma * h * (t.norm() / norm).clamp_min(1.0)


def share(joint: Mapping[str, Tensor], alone: Mapping[str, Tensor]) -> float:
    """c, the share of the joint gradient."""

    def dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
        return sum(float((one[key].double() * other[key].double()).sum()) for key in one)

    uw, uu, ww = dot(joint, alone), dot(joint, joint), dot(alone, alone)
    if uw > 0:
        return 0.5
    if uw >= uu:
        return 0.999
    if uw >= ww:
        return 0.001
    return (ww - uw) / (uu + ww - 2 * uw)
