"""Where the width is time, as in a spectrogram: T windows along it, one a time step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Axis = Literal["steps", "width"]


def windows(spikes: Tensor, steps: int) -> Tensor:
    """x[t, ..., w] = s[..., w] 1[floor(w T / W) = t], so sum_t x[t] = s: ``[B, C, H, W] -> [T, B, C, H, W]``."""
    width = spikes.shape[-1]
    window = torch.arange(width, device=spikes.device) * steps // width
    t = torch.arange(steps, device=spikes.device)
    return spikes * (window == t.unsqueeze(1)).to(spikes.dtype).view(steps, 1, 1, 1, width)
