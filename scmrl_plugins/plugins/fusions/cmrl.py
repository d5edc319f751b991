"""Cross-modal residual learning, the fusion of S-CMRL."""

from __future__ import annotations

from typing import Literal

from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Fusion
from scmrl_plugins.plugins.layers.attention import SpikingAttention, TemporalAttention, TemporalOrder
from scmrl_plugins.plugins.layers.linear import linear


class CMRL(Fusion):
    """a' = a + alpha r_a, v' = v + alpha r_v, where r is cross-attention from one modality to the other.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes and the residuals r
    (before alpha). Spatiotemporal attention is r = mean_N(spatial) * mean_T(temporal); ``attention`` can select
    only one of them. With ``align``, r passes through a semantic projection, LIF(Linear(r)), whose output the
    loss ``sao`` aligns. Source: arXiv 2502.12488.
    """

    class Config(ComponentConfig):
        attention: Literal["spatial", "temporal", "spatiotemporal"] = Field(
            "spatiotemporal", description="cross-attention over tokens, over time steps, or both"
        )
        alpha: float = Field(1.5, description="weight of the residual")
        align: bool = Field(True, description="project the residuals into the shared semantic space")
        attention_threshold: float | None = Field(
            None, description="threshold of the neuron after the attention; none: the default of the neuron"
        )
        projection_threshold: float | None = Field(
            None, description="threshold of the neuron of the semantic projection; none: the default of the neuron"
        )
        temporal_order: TemporalOrder = Field(
            "corrected",
            description="corrected: equation of the paper; published: its code, which mixes channels and steps",
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.default_losses = ("ce", "sao") if config.align else ("ce",)
        self.tags = frozenset() if config.attention == "spatial" else frozenset({"equal-tokens"})
        self.audio_from_visual = CrossModalResidual(config, context)
        self.visual_from_audio = CrossModalResidual(config, context)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        r_audio = self.audio_from_visual(audio, visual)
        r_visual = self.visual_from_audio(visual, audio)
        return Fused(
            audio=audio + self.alpha * r_audio,
            visual=visual + self.alpha * r_visual,
            residuals={"audio": r_audio, "visual": r_visual},
        )


class CrossModalResidual(nn.Module):
    """r of one direction: ``own [T, B, D, N], other [T, B, D, M] -> [T, B, D, N]``."""

    def __init__(self, config: CMRL.Config, context: Context) -> None:
        super().__init__()
        kinds = ("spatial", "temporal") if config.attention == "spatiotemporal" else (config.attention,)
        threshold = config.attention_threshold
        self.spatial = SpikingAttention(context, threshold) if "spatial" in kinds else None
        self.temporal = (
            TemporalAttention(context, threshold, config.temporal_order) if "temporal" in kinds else None
        )
        self.project = SemanticProjection(context, config.projection_threshold) if config.align else None

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        spatial = self.spatial(own, other) if self.spatial else None
        temporal = self.temporal(own, other) if self.temporal else None
        if spatial is not None and temporal is not None:
            residual = spatial.mean(3, keepdim=True) * temporal.mean(0, keepdim=True)
        else:
            residual = spatial if spatial is not None else temporal
        return self.project(residual) if self.project else residual


class SemanticProjection(nn.Module):
    """LIF(Linear(r)) over channels: ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, context: Context, threshold: float | None) -> None:
        super().__init__()
        self.linear = linear(context.embed_dims, context.embed_dims)
        self.neuron = context.neuron() if threshold is None else context.neuron(threshold=threshold)

    def forward(self, residual: Tensor) -> Tensor:
        projected = self.linear(rearrange(residual, "t b d n -> t b n d"))
        return self.neuron(rearrange(projected, "t b n d -> t b d n"))
