"""A backbone of convolutions, batch norm and neurons: what NIR can say."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Backbone, ComponentConfig, Context
from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.catalogue import Entry


class ConvNet(Backbone):
    """x + LIF(BN(Conv(x))) of x = AvgPool(LIF(BN(Conv(...)))): ``[T, B, C, H, W] -> [T, B, D, H W / 4]``."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__()
        assert context.modality is not None
        dims = context.embed_dims
        self.conv = nn.Conv2d(context.channels[context.modality], dims, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(dims)
        self.neuron = context.neuron()
        self.pool = nn.AvgPool2d(2)
        self.deep = nn.Conv2d(dims, dims, (3, 1), padding=(1, 0))
        self.deep_bn = nn.BatchNorm2d(dims)
        self.deep_neuron = context.neuron()

    def forward(self, x: Tensor) -> Tensor:
        steps, batch = x.shape[:2]
        y = self.bn(self.conv(x.flatten(0, 1))).unflatten(0, (steps, batch))
        y = self.pool(self.neuron(y).flatten(0, 1))
        z = self.deep_bn(self.deep(y)).unflatten(0, (steps, batch))
        return (y.unflatten(0, (steps, batch)) + self.deep_neuron(z)).flatten(3)


ENTRY = Entry("backbone", "conv-net", f"{__name__}:ConvNet", "convolutions", catalogue().plugins[0])
