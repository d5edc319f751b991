"""Spikes from change: level crossings."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.encoders.base import Axis, IntensityEncoder, windows


class Delta(IntensityEncoder):
    """s[t] = 1[u[t] - y[t-1] >= threshold] - 1[y[t-1] - u[t] >= threshold], y[t] = y[t-1] + threshold s[t].

    y follows the signal u by at most one threshold a time step, and each change of y is a spike: a crossing of
    equally spaced levels. ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1} for rises, and with ``off_spikes`` also
    -1 for falls. Events pass through.

    ``axis = "steps"``: the image is a ramp, u[t] = p (t + 1) / T with p the intensity, from y = 0. It only rises,
    and a pixel spikes min(T, floor(p / threshold)) times.
    ``axis = "width"``: u runs along the width of a spectrogram, from y = its first column; step t has the spikes
    of the t-th of T equal windows, at their columns. Images of the visual modality are ramps here too.

    Source: the step-forward code of Kasabov et al., Neural Networks 78 (2016) 1-14; send-on-delta, Miskowicz,
    Sensors 6 (2006) 49-63.
    """

    class Config(IntensityEncoder.Config):
        threshold: float = Field(0.25, gt=0, description="change of the intensity that causes a spike")
        axis: Axis = Field("steps", description="what time is: the model's steps, or the width of a spectrogram")
        off_spikes: bool = Field(False, description="also encode falls, as -1")

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.along_width = config.axis == "width" and context.modality != "visual"
        # A ramp never falls.
        self.tags = frozenset({"analogue"}) if config.off_spikes and self.along_width else frozenset()

    def encode(self, x: Tensor) -> Tensor:
        p = self.intensity(x)
        if self.along_width:
            columns = (p / self.config.threshold).movedim(3, 0)
            return windows(self._crossings(columns, columns[0]).movedim(0, 3), self.steps)
        # T threshold is multiplied first: with a threshold of 1 / T, p = 1 then crosses a level at every step.
        per_step = 1 / (self.steps * self.config.threshold)
        ramp = torch.stack([p * ((t + 1) * per_step) for t in range(self.steps)])
        return self._crossings(ramp, torch.zeros_like(p))

    def _crossings(self, signal: Tensor, start: Tensor) -> Tensor:
        """The code of a signal ``[S, ...]`` in units of the threshold, from the level ``start [...]``."""
        level = torch.zeros_like(start)  # an integer, so that rounding errors do not accumulate
        spikes = []
        for value in signal:
            change = value - start - level
            up, down = (change >= 1).to(signal.dtype), (change <= -1).to(signal.dtype)
            level = level + up - down
            spikes.append(up - down if self.config.off_spikes else up)
        return torch.stack(spikes)
