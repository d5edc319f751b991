"""Cross-modal query-key attention: a mask of one modality's queries on the other's keys."""

from __future__ import annotations

import dataclasses

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context, Fused, Fusion
from scmrl_plugins.plugins.fusions.base import Partner, TwoWay, TwoWayConfig
from scmrl_plugins.plugins.layers.attention import QueryKeyAttention
from scmrl_plugins.registry import UserError


class CMQKA(Fusion):
    """a' = a + w_a r_a, v' = v + w_v r_v, r = P_s(m_s(q_s) k_s) + P_t(m_t(q_t) k_t), w learned.

    ``audio, visual [T, B, D, N] -> Fused`` with the same shapes and the residuals r. Queries q come from
    the modality itself and keys k from the other one. The spatial mask m_s = LIF(sum of q over the channels of a
    head) selects tokens; the temporal mask m_t = LIF(sum of q over tokens) selects time steps of a channel; P is
    LIF(BN(Conv)). The cost is linear in N. With ``scales`` > 1, the fusion also runs between the last stages of a
    hierarchical backbone. Raises ``UserError`` if the numbers of tokens differ. Based on the abstract of SNNergy
    (arXiv 2602.00701) and on QKFormer (arXiv 2403.16552). The temporal masks and the sum are our choice.
    """

    class Config(TwoWayConfig):
        start: float = Field(1.0, description="initial weight of the residual")
        scales: int = Field(1, ge=1, le=8, description="number of last stages of the backbone that are fused")

    tags = frozenset({"equal-tokens"})
    between: nn.ModuleList

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.interacts = config.partner == "other"
        widths = context.widths or (context.embed_dims,)
        if config.scales > len(widths):
            raise UserError(
                f"fusion.scales = {config.scales}, but the backbone has {len(widths)}: "
                f"lower it, or choose a hierarchical backbone such as 'qkformer'"
            )
        contexts = [dataclasses.replace(context, embed_dims=width) for width in widths[-config.scales :]]
        scales = [BidirectionalQueryKey(one, config.start, config.partner) for one in contexts]
        self.between = nn.ModuleList(scales[:-1])
        self.last = scales[-1]

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return self.last(audio, visual)


class BidirectionalQueryKey(TwoWay):
    """Both directions at one scale: ``audio, visual [T, B, D, N] -> Fused``."""

    def __init__(self, context: Context, start: float, partner: Partner) -> None:
        super().__init__(partner)
        self.audio_from_visual = QueryKeyResidual(context)
        self.visual_from_audio = QueryKeyResidual(context)
        self.audio_weight = nn.Parameter(torch.tensor(start))
        self.visual_weight = nn.Parameter(torch.tensor(start))

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        if audio.shape[-1] != visual.shape[-1]:
            raise UserError(
                f"fusion 'cmqka' masks tokens one by one, but one modality has {audio.shape[-1]} and the other "
                f"{visual.shape[-1]}: use the same size for both inputs, or another fusion"
            )
        residuals = self.directions(audio, visual)
        return Fused(
            audio + self.audio_weight * residuals["audio"],
            visual + self.visual_weight * residuals["visual"],
            residuals=residuals,
        )


class QueryKeyResidual(nn.Module):
    """r of one direction: ``own, other [T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.space = QueryKeyAttention(context, "tokens")
        self.time = QueryKeyAttention(context, "channels")

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        return self.space(own, other) + self.time(own, other)
