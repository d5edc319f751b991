"""Read-outs: from the fused streams to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, ModelOutput


class MeanReadout(nn.Module):
    """logits = Linear(mean_T(combine(mean_N(a'), mean_N(v')))).

    ``Fused -> ModelOutput`` with ``logits [B, K]`` and, where the fusion has residuals, their means over
    tokens ``[T, B, D]`` to align.
    """

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.head = nn.Linear(self.width(context), context.num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def width(self, context: Context) -> int:
        """Features that the head sees."""
        raise NotImplementedError

    def combine(self, features: list[Tensor]) -> Tensor:
        """One feature per present modality, each ``[T, B, D]``, audio first."""
        raise NotImplementedError

    def forward(self, fused: Fused) -> ModelOutput:
        features = self.combine([stream.mean(3) for stream in fused.streams()])
        aligned = {name: residual.mean(3) for name, residual in fused.residuals.items()}
        return ModelOutput(logits=self.head(features.mean(0)), aligned=aligned or None)


class Add(MeanReadout):
    """logits = Linear(mean_T(mean_N(a') + mean_N(v'))): ``Fused -> ModelOutput``, ``logits [B, K]``."""

    def width(self, context: Context) -> int:
        return context.embed_dims

    def combine(self, features: list[Tensor]) -> Tensor:
        return torch.stack(features).sum(0)


class Concat(MeanReadout):
    """logits = Linear(mean_T([mean_N(a'); mean_N(v')])), audio first: ``Fused -> ModelOutput``."""

    def width(self, context: Context) -> int:
        return context.embed_dims * len(context.modalities)

    def combine(self, features: list[Tensor]) -> Tensor:
        return torch.cat(features, dim=-1)
