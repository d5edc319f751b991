"""Linear read-outs: map the fused streams to logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Modality, ModelOutput, Readout
from scmrl_plugins.plugins.layers.linear import linear


class MeanReadout(Readout):
    """logits = mean_T(Linear(combine(mean_N(a'), mean_N(v')))).

    ``Fused -> ModelOutput`` with ``logits [B, K]``, ``step_logits [T, B, K]`` and, if the fusion has
    residuals, their means over tokens ``[T, B, D]`` to align. With a joint stream j, logits =
    mean_T(Linear(mean_N(j))). If the fusion requires heads, each modality has an auxiliary head.
    """

    class Config(ComponentConfig):
        pass

    further_heads: ClassVar[bool] = True

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.modalities, self.joint = context.modalities, context.joint
        width = context.embed_dims if context.joint else self.width(context)
        self.head = linear(width, context.num_classes)
        self.heads = nn.ModuleDict(
            {name: linear(context.embed_dims, context.num_classes) for name in context.heads}
        )

    def head_of(self, modality: Modality) -> nn.Module | None:
        """The head of a model of one modality; of several modalities none has a head for itself."""
        return self.head if self.modalities == (modality,) else None

    def split(self, features: Mapping[Modality, Tensor]) -> Mapping[Modality, Tensor]:
        """W_m f_m + b / M, W_m the columns of the head that see modality m of M; none of a joint stream."""
        if self.joint:
            return {}
        bias = self.head.bias / len(self.modalities)
        return {name: F.linear(features[name], self.columns(name), bias) for name in self.modalities}

    def columns(self, modality: Modality) -> Tensor:
        """The weights of the head for a modality's feature, ``[K, D]``."""
        raise NotImplementedError

    def width(self, context: Context) -> int:
        """Number of input features of the head."""
        raise NotImplementedError

    def combine(self, features: list[Tensor]) -> Tensor:
        """One feature per present modality, each ``[T, B, D]``, audio first."""
        raise NotImplementedError

    def forward(self, fused: Fused) -> ModelOutput:
        if fused.joint is None:
            features = self.combine([stream.mean(3) for stream in fused.streams()])
        else:
            features = fused.joint.mean(3)
        step_logits = self.head(features)
        return ModelOutput(
            logits=step_logits.mean(0),
            aux_logits={name: head(getattr(fused, name).mean((0, 3))) for name, head in self.heads.items()},
            aligned={name: residual.mean(3) for name, residual in fused.residuals.items()} or None,
            step_logits=step_logits,
            shares=fused.shares,
        )


class Add(MeanReadout):
    """logits = mean_T(Linear(mean_N(a') + mean_N(v'))): ``Fused -> ModelOutput``, ``logits [B, K]``."""

    def columns(self, modality: Modality) -> Tensor:
        return self.head.weight

    def width(self, context: Context) -> int:
        return context.embed_dims

    def combine(self, features: list[Tensor]) -> Tensor:
        return torch.stack(features).sum(0)


class Concat(MeanReadout):
    """logits = mean_T(Linear([mean_N(a'); mean_N(v')])), audio first: ``Fused -> ModelOutput``."""

    def columns(self, modality: Modality) -> Tensor:
        return self.head.weight.chunk(len(self.modalities), dim=1)[self.modalities.index(modality)]

    def width(self, context: Context) -> int:
        return context.embed_dims * len(context.modalities)

    def combine(self, features: list[Tensor]) -> Tensor:
        return torch.cat(features, dim=-1)
