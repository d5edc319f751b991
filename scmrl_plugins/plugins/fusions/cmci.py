"""CMCI: a joint stream of both modalities, and a classification head for each of the three streams."""

from __future__ import annotations

from typing import ClassVar

from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Context, Fused, Fusion, Modality
from scmrl_plugins.plugins.layers.blocks import SpikingMLP
from scmrl_plugins.plugins.layers.linear import linear
from scmrl_plugins.registry import UserError


class CMCI(Fusion):
    """j = h + MLP(h), h = LIF(W1 a + b1 + W2 v + b2): predicts from the joint stream j; a and v are unchanged.

    ``audio, visual [T, B, D, N] -> Fused`` with ``joint [T, B, D, N]``. Audio and vision have additional heads;
    the loss ``ce`` adds their cross-entropies. Raises ``UserError`` if the numbers of tokens differ. A baseline
    of arXiv 2502.12488, after its code, which also computes a second joint stream that is never used
    (``both_blocks``).
    """

    class Config(ComponentConfig):
        mlp_ratio: float = Field(4.0, gt=0, le=64, description="hidden channels of the MLP as a multiple of D")
        both_blocks: bool = Field(
            False, description="also compute the unused second joint stream of the published code"
        )

    joint: ClassVar[bool] = True
    heads: ClassVar[tuple[Modality, ...]] = MODALITIES
    tags = frozenset({"equal-tokens"})

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.audio_with_visual = JointStream(context, config.mlp_ratio)
        self.visual_with_audio = JointStream(context, config.mlp_ratio) if config.both_blocks else None

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        joint = self.audio_with_visual(audio, visual)
        if self.visual_with_audio and self.training:
            self.visual_with_audio(visual, audio)  # updates the statistics of its batch norm
        return Fused(audio, visual, joint=joint)


class JointStream(nn.Module):
    """h + MLP(h), h = LIF(Linear(own) + Linear(other)): ``own, other [T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, context: Context, ratio: float) -> None:
        super().__init__()
        self.own = linear(context.embed_dims, context.embed_dims)
        self.other = linear(context.embed_dims, context.embed_dims)
        self.neuron = context.neuron()
        self.mlp = SpikingMLP(context, ratio)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        if own.shape[-1] != other.shape[-1]:
            raise UserError(
                f"fusion 'cmci' adds tokens one by one, but one modality has {own.shape[-1]} and the other "
                f"{other.shape[-1]}: use the same size for both inputs, or another fusion"
            )
        x, y = (rearrange(stream, "t b d n -> t b n d") for stream in (own, other))
        return self.mlp(self.neuron(rearrange(self.own(x) + self.other(y), "t b n d -> t b d n")))
