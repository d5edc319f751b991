"""Spiking patch splitting: from pixels to tokens."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import NeuronFactory
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv, through


class SpikingPatchSplitting(nn.Module):
    """Stages of MaxPool(LIF(BN(Conv(x)))), then x + LIF(BN(Conv(x))) as position embedding.

    ``x [T, B, C, H, W] -> [T, B, D, N]``. ``widths`` are the stages' channels, the last of them D; each stage
    halves height and width (rounding up), so N = (H / 2^stages) (W / 2^stages). Source: Spikformer, arXiv
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
            x = through(stage, x, self.pool, recompute=recompute)
        x = x + through(self.position, x, recompute=recompute)
        return rearrange(x, "t b d h w -> t b d (h w)")
