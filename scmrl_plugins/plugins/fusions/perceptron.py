"""A spiking perceptron of the summaries of both modalities."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.fusions.base import Residual, ResidualConfig, summary
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv


class Perceptron(Residual):
    """a' = a + alpha r_a, v' = v + alpha r_v, r = LIF(BN(W2 LIF(BN(W1 [o; p])))) for every token.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes and the residuals r, spikes of 0 or
    1. o = mean_N of the stream itself and p = mean_N of its partner, at each time step. The hidden layer can
    represent any function of both, such as whether they agree, so the residual carries what neither modality has
    alone. The cost is linear in N.
    """

    class Config(ResidualConfig):
        ratio: float = Field(4.0, gt=0, le=64, description="hidden channels as a multiple of D")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, lambda: PerceptronResidual(context, config.ratio))


class PerceptronResidual(nn.Module):
    """r of one direction: ``own [T, B, D, N], partner [T, B, D, M] -> [T, B, D, N]``."""

    def __init__(self, context: Context, ratio: float) -> None:
        super().__init__()
        hidden = max(1, int(context.embed_dims * ratio))
        self.hidden = SpikingConv(2 * context.embed_dims, hidden, context.neuron)
        self.out = SpikingConv(hidden, context.embed_dims, context.neuron)

    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        both = torch.cat([summary(own), summary(partner)], dim=2)
        return self.out(self.hidden(both)).expand_as(own)
