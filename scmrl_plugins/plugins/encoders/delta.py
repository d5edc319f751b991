"""Spikes from change: level crossings."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.encoders.static import IntensityEncoder
from scmrl_plugins.plugins.encoders.windows import Axis, windows


class Delta(IntensityEncoder):
    """s[t] = 1[u[t] - y[t-1] >= threshold] - 1[y[t-1] - u[t] >= threshold], y[t] = y[t-1] + threshold s[t].

    y follows the signal u in steps of the threshold, one a time step at most, and each is a spike: the crossings
    of equally spaced levels. ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1}; only rises are put out, and with
    ``off_spikes`` falls as -1. Events pass through.

    ``axis = "steps"``: the image appears as a ramp, u[t] = p (t + 1) / T with p the intensity, from y = 0. It only
    rises, and a pixel spikes min(T, floor(p / threshold)) times, the brighter the more.
    ``axis = "width"``: along the width of a spectrogram, which is time, from y = its first column; step t shows
    the spikes of the t-th of T equal windows, in place, and their sum over t is the whole. Images, whose width is
    no time, are ramps as before.

    Source: the step-forward code of Kasabov et al., Neural Networks 78 (2016) 1-14; send-on-delta, Miskowicz,
    Sensors 6 (2006) 49-63.
    """

    class Config(IntensityEncoder.Config):
        threshold: float = Field(0.25, gt=0, description="change of the intensity that makes a spike")
        axis: Axis = Field("steps", description="what time is: the model's steps, or the width of a spectrogram")
        off_spikes: bool = Field(False, description="falls too, as -1")

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
        # In units of the threshold, and T threshold first: of T steps of 1 / T, p = 1 takes all.
        per_step = 1 / (self.steps * self.config.threshold)
        ramp = torch.stack([p * ((t + 1) * per_step) for t in range(self.steps)])
        return self._crossings(ramp, torch.zeros_like(p))

    def _crossings(self, signal: Tensor, start: Tensor) -> Tensor:
        """The code of a signal ``[S, ...]`` in units of the threshold, from the level ``start [...]``."""
        level = torch.zeros_like(start)  # counted, so that no error adds up
        spikes = []
        for value in signal:
            change = value - start - level
            up, down = (change >= 1).to(signal.dtype), (change <= -1).to(signal.dtype)
            level = level + up - down
            spikes.append(up - down if self.config.off_spikes else up)
        return torch.stack(spikes)
