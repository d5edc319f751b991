"""Cross-modal residual learning, the fusion of S-CMRL."""

from __future__ import annotations

from typing import Any, Literal

from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.fusions.base import Residual, ResidualConfig
from scmrl_plugins.plugins.layers.attention import (
    AttentionConfig,
    Scale,
    SpikingAttention,
    TemporalAttention,
    TemporalOrder,
)
from scmrl_plugins.plugins.layers.linear import linear
from scmrl_plugins.plugins.layers.spiking_conv import norm

Attention = Literal["spatial", "temporal", "spatiotemporal"]


class CMRL(Residual):
    """a' = a + alpha r_a, v' = v + alpha r_v, where r is cross-attention from one modality to the other.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes and the residuals r
    (before alpha). Spatiotemporal attention is r = mean_N(spatial) * mean_T(temporal); ``attention`` can select
    only one of them. With ``align``, r passes through a semantic projection, LIF(Linear(r)), whose output the
    loss ``sao`` aligns; with ``projection_norm`` it is LIF(BN(Linear(r))). Source: arXiv 2502.12488.
    """

    class Config(AttentionConfig, ResidualConfig):
        attention: Attention = Field(
            "spatiotemporal", description="cross-attention over tokens, over time steps, or both"
        )
        alpha: float = Field(1.5, description="weight of the residual")
        align: bool = Field(True, description="project the residuals into the shared semantic space")
        projection_threshold: float | None = Field(
            None, description="threshold of the neuron of the semantic projection; none: the default of the neuron"
        )
        projection_norm: bool = Field(
            False, description="batch norm in the semantic projection, which then cannot fall silent"
        )
        temporal_order: TemporalOrder = Field(
            "corrected",
            description="corrected: equation of the paper; published: its code, which mixes channels and steps",
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, lambda: CrossModalResidual(config, context))
        self.default_losses = ("ce", "sao") if config.align else ("ce",)
        paired = config.attention != "spatial" and config.partner == "other"
        self.tags = frozenset({"equal-tokens"}) if paired else frozenset()


def _field(name: str, default: Any) -> Any:
    """A field of ``CMRL.Config`` with another default."""
    return Field(default, description=CMRL.Config.model_fields[name].description)


class CMRLLive(CMRL):
    """``cmrl`` with settings under which its residuals fire from the first step of training.

    With the published ones the attention's current is about 0.02 at initialisation, with a threshold of 1, and the
    semantic projection falls silent for good where features are weak. Here the mean current is the threshold,
    attention is over tokens, whose spikes no mean weakens, and r is not aligned, which costs accuracy on tasks
    that need both modalities; with ``align``, batch norm keeps the projection firing.
    """

    class Config(CMRL.Config):
        attention: Attention = _field("attention", "spatial")
        attention_scale: Scale = _field("attention_scale", "auto")
        align: bool = _field("align", False)
        projection_norm: bool = _field("projection_norm", True)


class CrossModalResidual(nn.Module):
    """r of one direction: ``own [T, B, D, N], other [T, B, D, M] -> [T, B, D, N]``."""

    def __init__(self, config: CMRL.Config, context: Context) -> None:
        super().__init__()
        kinds = ("spatial", "temporal") if config.attention == "spatiotemporal" else (config.attention,)
        keywords, order = config.keywords(), config.temporal_order
        self.spatial = SpikingAttention(context, **keywords) if "spatial" in kinds else None
        self.temporal = TemporalAttention(context, order=order, **keywords) if "temporal" in kinds else None
        self.project = SemanticProjection(config, context) if config.align else None

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        spatial = self.spatial(own, other) if self.spatial else None
        temporal = self.temporal(own, other) if self.temporal else None
        if spatial is not None and temporal is not None:
            residual = spatial.mean(3, keepdim=True) * temporal.mean(0, keepdim=True)
        else:
            residual = spatial if spatial is not None else temporal
        return self.project(residual) if self.project else residual


class SemanticProjection(nn.Module):
    """LIF(Linear(r)) over channels, or LIF(BN(Linear(r))): ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, config: CMRL.Config, context: Context) -> None:
        super().__init__()
        threshold = config.projection_threshold
        self.linear = linear(context.embed_dims, context.embed_dims)
        self.norm = nn.BatchNorm1d(context.embed_dims) if config.projection_norm else None
        self.neuron = context.neuron() if threshold is None else context.neuron(threshold=threshold)

    def forward(self, residual: Tensor) -> Tensor:
        projected = self.linear(rearrange(residual, "t b d n -> t b n d"))
        current = rearrange(projected, "t b n d -> t b d n")
        if self.norm is not None:
            current = norm(self.norm, current.flatten(0, 1), 1).unflatten(0, current.shape[:2])
        return self.neuron(current)
