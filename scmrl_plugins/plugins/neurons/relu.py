"""The rectified linear unit, for the artificial twin of a spiking network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Neuron


class ReLU(Neuron):
    """y[t] = max(0, x[t]): ``x [T, B, *] -> y [T, B, *]``, real numbers, no membrane and no reset.

    With ``model.steps = 1`` every layer becomes that of an artificial neural network of the same architecture and
    number of parameters, the twin with which a spiking network is compared.
    """

    tags = frozenset({"analogue", "memoryless"})

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__()

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        """One time step, ``x [B, *] -> y [B, *]``; there is no state."""
        return torch.relu(x), None

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)
