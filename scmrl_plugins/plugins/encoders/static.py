"""From an input to a sequence over T time steps. Event data, which has its own steps, passes through."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context
from scmrl_plugins.registry import UserError


class StaticEncoder(nn.Module):
    """What all encoders share: events ``[B, T, C, H, W]`` become ``[T, B, C, H, W]``, a static input is coded."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__()
        self.config = config
        self.steps = context.steps

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            return self.encode(x)
        if x.dim() != 5:
            raise UserError(
                f"the input of an encoder is [B, C, H, W] or [B, T, C, H, W], this one is {list(x.shape)}"
            )
        if x.shape[1] != self.steps:
            raise UserError(
                f"the input has {x.shape[1]} time steps, the model {self.steps}: set model.steps = {x.shape[1]}"
            )
        return x.transpose(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        """``[B, C, H, W] -> [T, B, C, H, W]``."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


class IntensityEncoder(StaticEncoder):
    """An encoder of intensities in [0, 1]; each sample is brought there by its own minimum and maximum."""

    class Config(ComponentConfig):
        rescale: bool = Field(
            True, description="map each sample's minimum and maximum to 0 and 1; off: clamp to [0, 1]"
        )

    def intensity(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to [0, 1]; a constant sample becomes 0."""
        if not self.config.rescale:
            return x.clamp(0, 1)
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)
