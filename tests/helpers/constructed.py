"""Networks whose truth is known: what crosses in their fusion, and where they look."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Backbone, ComponentConfig, Context, Fused, Fusion
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.catalogue import Entry


class Ignoring(Fusion):
    """a' = a + a / 2, v' = v + v / 2: it adds something, but nothing of the partner."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(1.5 * audio, 1.5 * visual)


class Copying(Ignoring):
    """a' = a + v, v' = v + a."""

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(audio + visual, visual + audio)


class Listening(Ignoring):
    """a' = a, v' = 0: only audio is left."""

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(audio, torch.zeros_like(visual))


def entries() -> list[Entry]:
    """The fusions for the catalogue, under the names of the classes."""
    plugin = catalogue().plugins[0]
    kinds = (Ignoring, Copying, Listening)
    return [
        Entry("fusion", one.__name__.lower(), f"{__name__}:{one.__name__}", "constructed", plugin) for one in kinds
    ]


class Pixels(Backbone):
    """The mean of the channels of each pixel block, in every dimension D: ``[T, B, C, 8, 8] -> [T, B, D, 16]``."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        means = nn.functional.avg_pool2d(x.mean(2, keepdim=True).flatten(0, 1), 2).unflatten(0, x.shape[:2])
        return means.flatten(2).unsqueeze(2).expand(-1, -1, self.dims, -1)


def looking(model: AudioVisualModel) -> AudioVisualModel:
    """The model with its inputs as tokens, whose brightness speaks for every class."""
    dims = model.config.model.embed_dims
    model.backbones = nn.ModuleDict({name: Pixels(dims) for name in model.backbones})
    readout: Any = model.readout
    nn.init.ones_(readout.head.weight)
    return model.eval()


def planted(row: int, column: int, channels: int) -> Tensor:
    """A black picture ``[1, C, 8, 8]`` with one bright block of the 4 x 4 blocks."""
    x = torch.zeros(1, channels, 8, 8)
    x[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 1.0
    return x


def peak(tokens: Tensor) -> tuple[int, int]:
    """Row and column of the largest of N tokens in their square."""
    side = math.isqrt(tokens.numel())
    return divmod(int(tokens.argmax()), side)
