"""The two halves of a spiking Transformer block."""

from __future__ import annotations

from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.layers.attention import SpikingAttention
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv


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
