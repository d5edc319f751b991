"""Encoders with their settings, pixels of given intensities, and BrainCog's encoder of the same code."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Context


def encoder(cls: Any, steps: int, **config: Any) -> Any:
    context = Context(steps, 8, 1, 4, 2, {"audio": 1, "visual": 1}, neuron=torch.nn.Identity)
    return cls(cls.Config(**config), context)


def pixels(values: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype).view(1, 1, 1, -1)


def theirs(module: ModuleType, steps: int, code: str, x: Tensor) -> Tensor:
    made = module.Encoder(steps, code)
    made.device = x.device  # BrainCog reads it and sets it nowhere
    return made(x)
