"""The summary of the partner, through a gate that depends on both modalities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.fusions.base import Residual, ResidualConfig, summary
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv


class Summary(Residual):
    """a' = a + alpha r_a, v' = v + alpha r_v, r = g LIF(BN(W p)) for every token, g = LIF(BN(U [o; p])).

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes and the residuals r, spikes of 0 or
    1. o = mean_N of the stream itself and p = mean_N of its partner, at each time step. The gate g passes or stops
    each channel of the partner's summary; it can learn when the partner is reliable, as it gets both summaries.
    The cost is linear in N.
    """

    class Config(ResidualConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, lambda: SummaryResidual(context))


class SummaryResidual(nn.Module):
    """r of one direction: ``own [T, B, D, N], partner [T, B, D, M] -> [T, B, D, N]``."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.value = SpikingConv(context.embed_dims, context.embed_dims, context.neuron)
        self.gate = SpikingConv(2 * context.embed_dims, context.embed_dims, context.neuron)

    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        o, p = summary(own), summary(partner)
        return (self.gate(torch.cat([o, p], dim=2)) * self.value(p)).expand_as(own)
