"""A kind that the framework does not have: its base class, and a component that does not inherit it."""

from __future__ import annotations

from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Component, ComponentConfig, Context
from scmrl_plugins.registry.kinds import Kind

KIND = Kind("gate", "gate_kind:Gate", "open")


class Gate(Component, nn.Module):
    """``(x [T, B, D, N]) -> [T, B, D, N]``."""

    bias: float = 0.5

    def closed(self, x: Tensor) -> Tensor:
        """x of a gate that is shut."""
        return 0 * x


class Open(nn.Module):
    """y = scale x."""

    class Config(ComponentConfig):
        scale: float = 1.0

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.scale = config.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x
