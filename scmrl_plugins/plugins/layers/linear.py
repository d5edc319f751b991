"""The linear layer of gates, projections and read-outs."""

from __future__ import annotations

from torch import nn


def linear(width: int, out: int) -> nn.Linear:
    """W x + b, W drawn from a normal distribution of standard deviation 0.02 cut off at 2, b = 0."""
    layer = nn.Linear(width, out)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
