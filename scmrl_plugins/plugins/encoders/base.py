"""Base classes of the encoders, and the windows of those that take the width of a spectrogram as time."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Encoder
from scmrl_plugins.registry import UserError

Axis = Literal["steps", "width"]
"""What time is: the model's steps, or the width of a spectrogram."""


class StaticEncoder(Encoder):
    """Encodes static inputs ``[B, C, H, W]`` and transposes events ``[B, T, C, H, W]``: ``-> [T, B, C, H, W]``."""

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
    """Encodes intensities in [0, 1], to which each sample is scaled by its minimum and maximum."""

    class Config(ComponentConfig):
        rescale: bool = Field(
            True, description="map each sample's minimum and maximum to 0 and 1; off: clamp to [0, 1]"
        )

    def intensity(self, x: Tensor) -> Tensor:
        """p = (x - min x) / (max x - min x) of each sample, ``[B, C, H, W]``; 0 for a constant sample."""
        if not self.config.rescale:
            return x.clamp(0, 1)
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)


def windows(spikes: Tensor, steps: int) -> Tensor:
    """Spikes along the width split into T equal windows, one a time step: ``[B, C, H, W] -> [T, B, C, H, W]``.

    x[t, ..., w] = s[..., w] 1[floor(w T / W) = t], so that sum_t x[t] = s.
    """
    width = spikes.shape[-1]
    window = torch.arange(width, device=spikes.device) * steps // width
    t = torch.arange(steps, device=spikes.device)
    return spikes * (window == t.unsqueeze(1)).to(spikes.dtype).view(steps, 1, 1, 1, width)
