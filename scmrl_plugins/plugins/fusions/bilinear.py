"""The product of projections of both modalities' summaries."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.fusions.base import Residual, ResidualConfig, summary
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv


class Bilinear(Residual):
    """a' = a + alpha r_a, v' = v + alpha r_v, r = LIF(BN(W (LIF(BN(U o)) * LIF(BN(V p))))) for every token.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes and the residuals r, spikes of 0 or
    1. o = mean_N of the stream itself and p = mean_N of its partner, at each time step. The product of two spikes
    is their coincidence: low-rank bilinear pooling (arXiv 1610.04325) of spikes. The cost is linear in N.
    """

    class Config(ResidualConfig):
        ratio: float = Field(4.0, gt=0, le=64, description="rank, the number of products, as a multiple of D")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, lambda: BilinearResidual(context, config.ratio))


class BilinearResidual(nn.Module):
    """r of one direction: ``own [T, B, D, N], partner [T, B, D, M] -> [T, B, D, N]``."""

    def __init__(self, context: Context, ratio: float) -> None:
        super().__init__()
        dims, rank = context.embed_dims, max(1, int(context.embed_dims * ratio))
        self.own = SpikingConv(dims, rank, context.neuron)
        self.partner = SpikingConv(dims, rank, context.neuron)
        self.out = SpikingConv(rank, dims, context.neuron)

    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        return self.out(self.own(summary(own)) * self.partner(summary(partner))).expand_as(own)
