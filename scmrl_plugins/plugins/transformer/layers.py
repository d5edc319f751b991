"""The layers that the spiking Transformer and the fusion blocks repeat."""

from __future__ import annotations

from torch import Tensor, nn

from scmrl_plugins.core.interfaces import NeuronFactory


class SpikingConv(nn.Module):
    """LIF(BN(Conv(x))), where LIF is the configured neuron.

    2-d: ``[T, B, C, H, W] -> [T, B, D, H, W]``, kernel 3, padding 1, or with ``stride`` s kernel 1 and
    ``[T, B, D, H / s, W / s]``. 1-d: ``[T, B, C, N] -> [T, B, D, N]``, kernel 1. Batch statistics run over T and B
    together.
    """

    def __init__(
        self, channels: int, out: int, neuron: NeuronFactory, *, dims: int = 1, bias: bool = False, stride: int = 0
    ) -> None:
        super().__init__()
        if stride:
            self.conv: nn.Module = nn.Conv2d(channels, out, kernel_size=1, stride=stride, bias=bias)
            self.bn: nn.Module = nn.BatchNorm2d(out)
        elif dims == 2:
            self.conv = nn.Conv2d(channels, out, kernel_size=3, padding=1, bias=bias)
            self.bn = nn.BatchNorm2d(out)
        else:
            self.conv = nn.Conv1d(channels, out, kernel_size=1, bias=bias)
            self.bn = nn.BatchNorm1d(out)
        self.neuron = neuron()

    def forward(self, x: Tensor) -> Tensor:
        steps, batch = x.shape[:2]
        y = self.bn(self.conv(x.flatten(0, 1)))
        return self.neuron(y.unflatten(0, (steps, batch)))


def linear(width: int, out: int) -> nn.Linear:
    """W x + b, W drawn from a normal distribution of standard deviation 0.02 cut off at 2, b = 0."""
    layer = nn.Linear(width, out)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
