"""A hierarchical backbone with query-key attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Backbone, ComponentConfig, Context, NeuronFactory
from scmrl_plugins.plugins.layers.attention import QueryKeyAttention, SpikingAttention
from scmrl_plugins.plugins.layers.blocks import SpikingMLP
from scmrl_plugins.plugins.layers.recompute import checkpointed
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.registry import UserError

# Below this size, a first stage of stride 4 would leave too few tokens.
STRIDE_4_FROM = 64


class QKFormer(Backbone):
    """Three stages of patch embedding and blocks x + QKA(x), x + MLP(x); the last stage's attention is SSA.

    ``x [T, B, C, H, W] -> tokens [T, B, D, N]``. The stages have D/4, D/2 and D channels, and each has a
    quarter of the previous tokens: N = H W / 16^2, or H W / 8^2 with ``stride`` 2, rounding up. The cost of
    query-key attention is linear in N; only the last and smallest stage has quadratic cost. ``feed_forward`` is
    another MLP after the fusion. Source: QKFormer, arXiv 2403.16552.
    """

    class Config(ComponentConfig):
        stride: Literal["auto", "2", "4"] = Field(
            "auto", description="stride of the first stage; auto: 4 from 64 pixels, else 2"
        )
        depths: tuple[int, int, int] = Field((1, 1, 1), strict=False, description="number of blocks per stage")
        mlp_ratio: float = Field(4.0, gt=0, le=64, description="hidden channels of an MLP as a multiple of D")
        recompute: bool = Field(
            False, description="save memory by recomputing embeddings and blocks in the backward pass"
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        dims = context.embed_dims
        if dims % 4 or (dims // 4) % context.num_heads:
            raise UserError(
                f"backbone 'qkformer' has stages of D/4, D/2 and D channels, each a multiple of model.num_heads: "
                f"model.embed_dims = {dims} and model.num_heads = {context.num_heads} do not fit"
            )
        assert context.modality is not None
        large = context.image_size >= STRIDE_4_FROM
        first = {"auto": 4 if large else 2, "2": 2, "4": 4}[config.stride]
        self.widths = (dims // 4, dims // 2, dims)
        channels = [context.channels[context.modality], *self.widths]
        self.stages = nn.ModuleList()
        for index, (width, depth) in enumerate(zip(self.widths, config.depths, strict=True)):
            inner = dataclasses.replace(context, embed_dims=width)
            last = index == len(self.widths) - 1
            self.stages.append(
                Stage(
                    DownsamplingEmbedding(channels[index], width, 2 if index else first, context.neuron),
                    [QueryKeyBlock(inner, config.mlp_ratio, quadratic=last) for _ in range(depth)],
                    config.recompute,
                )
            )
        self.mlp = SpikingMLP(context, config.mlp_ratio)
        self.recompute = config.recompute

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return rearrange(x, "t b d h w -> t b d (h w)")

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """The MLP half of the block whose attention is the fusion: ``[T, B, D, N] -> [T, B, D, N]``."""
        return checkpointed(self.mlp, tokens, recompute=self.recompute)

    @property
    def after_fusion(self) -> Sequence[nn.Module]:
        """The MLP."""
        return (self.mlp,)


class Stage(nn.Module):
    """An embedding, then blocks on its tokens: ``[T, B, C, H, W] -> [T, B, D, H / s, W / s]``."""

    def __init__(self, embedding: nn.Module, blocks: list[nn.Module], recompute: bool) -> None:
        super().__init__()
        self.recompute = recompute
        self.embedding = embedding
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = checkpointed(self.embedding, x, recompute=self.recompute)
        tokens = x.flatten(3)
        for block in self.blocks:
            tokens = checkpointed(block, tokens, recompute=self.recompute)
        return tokens.unflatten(3, x.shape[3:])


class DownsamplingEmbedding(nn.Module):
    """LIF(BN(Conv(pool(LIF(BN(Conv(x))))))) + LIF(BN(Conv1x1(x))), where the shortcut has stride s.

    ``[T, B, C, H, W] -> [T, B, D, H / s, W / s]``, rounding up; s is 2 or 4, with one max pooling per factor of 2.
    """

    def __init__(self, channels: int, out: int, stride: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.expand = SpikingConv(channels, out, neuron, dims=2)
        self.pool = nn.Sequential(*(nn.MaxPool2d(3, stride=2, padding=1) for _ in range(stride.bit_length() - 1)))
        self.embed = SpikingConv(out, out, neuron, dims=2)
        self.shortcut = SpikingConv(channels, out, neuron, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.expand(x, self.pool)) + self.shortcut(x)


class QueryKeyBlock(nn.Module):
    """MLP(x + A(x)), A query-key attention or, if ``quadratic``, SSA: ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, context: Context, ratio: float, *, quadratic: bool) -> None:
        super().__init__()
        self.attention = SpikingAttention(context) if quadratic else QueryKeyAttention(context, "tokens")
        self.mlp = SpikingMLP(context, ratio)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x + self.attention(x, x))
