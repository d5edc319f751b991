"""Models as if trained, and inputs for them: what folding and recording are tried on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel


def batch(seed: int = 0, steps: int | None = None) -> dict[str, Tensor]:
    """Inputs of the blobs, static, or with ``steps`` an input a time step."""
    draw = torch.Generator().manual_seed(seed)
    time = () if steps is None else (steps,)
    sizes = {"audio": (5, *time, 1, 8, 8), "visual": (5, *time, 2, 8, 8)}
    return {name: torch.randn(size, generator=draw, dtype=torch.float64) for name, size in sizes.items()}


def with_statistics(parts: Assembly) -> AudioVisualModel:
    """The model in float64, as if trained: no scale is 1, no mean is 0."""
    draw = torch.Generator().manual_seed(1)
    model = parts.model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draw)
            nn.init.normal_(module.bias, std=0.3, generator=draw)
    with torch.no_grad():
        for seed in range(3):
            model.train()(**batch(10 + seed))
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
