"""The blocks of a spiking Transformer: patch splitting, MLP, and self-attention with an MLP."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context, NeuronFactory
from scmrl_plugins.plugins.layers.attention import SpikingAttention
from scmrl_plugins.plugins.layers.recompute import checkpointed
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv


class SpikingPatchSplitting(nn.Module):
    """Stages of MaxPool(LIF(BN(Conv(x)))), then x + LIF(BN(Conv(x))) as position embedding.

    ``x [T, B, C, H, W] -> [T, B, D, N]``. ``widths`` are the channels of each stage, the last of them D. A stage
    halves height and width, rounding up: N = (H / 2^stages) (W / 2^stages). Source: Spikformer, arXiv
    2209.15425; arXiv 2502.12488.
    """

    def __init__(self, channels: int, widths: Sequence[int], neuron: NeuronFactory) -> None:
        super().__init__()
        pairs = zip([channels, *widths[:-1]], widths, strict=True)
        self.stages = nn.ModuleList(SpikingConv(c, d, neuron, dims=2) for c, d in pairs)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.position = SpikingConv(widths[-1], widths[-1], neuron, dims=2)

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for stage in self.stages:
            x = checkpointed(stage, x, self.pool, recompute=recompute)
        x = x + checkpointed(self.position, x, recompute=recompute)
        return rearrange(x, "t b d h w -> t b d (h w)")


class SpikingMLP(nn.Module):
    """x + LIF(BN(Conv(LIF(BN(Conv(x)))))), 1x1 convolutions with bias: ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, context: Context, ratio: float) -> None:
        super().__init__()
        dims = context.embed_dims
        hidden = max(1, int(dims * ratio))
        self.expand = SpikingConv(dims, hidden, context.neuron, bias=True)
        self.contract = SpikingConv(hidden, dims, context.neuron, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(self.expand(x))


class SpikingBlock(nn.Module):
    """MLP(x + SSA(x)), SSA spiking self-attention: ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, context: Context, ratio: float) -> None:
        super().__init__()
        self.attention = SpikingAttention(context)
        self.mlp = SpikingMLP(context, ratio)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x + self.attention(x, x))
