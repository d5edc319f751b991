"""Spikes of a spectrogram's frequency bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context
from scmrl_plugins.plugins.encoders.base import Axis, StaticEncoder, windows


class Cochlea(StaticEncoder):
    """r[k, w] = max(0, b[k, w] - mean b) / max, b = F x: the energy of a band above the mean drives a LIF neuron.

        v[t] = (1 - 1/tau) v[t-1] + r[k, w]
        s[t] = 1[v[t] >= 1]
        v[t] = v[t] - s[t]

    ``[B, C, H, W] -> [T, B, C, H, W]`` in {0, 1} for log spectrograms x with the lowest frequency in row 0; a band
    spikes on all of its rows. Drive 1, the sample's maximum, fires at every step, drives below 1/tau never fire.
    A constant input, such as silence, does not fire. Events pass through.

    F, ``[K, H]``, are triangles on the ERB-number scale E(f) = 21.4 log10(1 + 0.00437 f), f in Hz: centres
    (k + 1/2) d, d = E(rate / 2) / K, each reaching to its neighbours' centres, and the weights of a band sum to 1.
    A row belongs to the band with the largest weight on it; ``scale`` is that of the rows. A band may be narrower
    than a row; bands without rows are omitted.

    ``axis = "steps"``: each column drives a separate neuron for T steps. ``axis = "width"``: the one neuron of a
    band runs along the columns, and step t has the spikes of the t-th of T equal windows, at their columns.

    For sound only: images of the visual modality are repeated at every step, as by ``direct``. Source of the
    scale: Glasberg and Moore, Hearing Research 47 (1990) 103-138.
    """

    class Config(ComponentConfig):
        filters: int = Field(32, ge=1, le=512, description="bands K between 0 Hz and half the sample rate")
        sample_rate: int = Field(8000, ge=1000, le=384_000, description="sample rate of the recordings in Hz")
        tau: float = Field(4.0, ge=1, description="membrane time constant, in time steps or columns")
        scale: Literal["mel", "linear"] = Field(
            "mel",
            description="scale of the rows' frequencies: mel for log-mel spectrograms, linear for log-stft",
            json_schema_extra={"before": "linear"},
        )
        axis: Axis = Field("steps", description="what time is: the model's steps, or the width of the spectrogram")

    filters: Tensor
    band: Tensor

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.sound = context.modality != "visual"
        self.tags = frozenset() if self.sound else frozenset({"analogue"})
        if self.sound:
            bands = filter_bank(config.filters, context.image_size, config.sample_rate, config.scale)
            used, band = np.unique(bands.argmax(0), return_inverse=True)
            # Not in the state dict: they follow from the settings.
            self.register_buffer("filters", torch.from_numpy(bands[used]).float(), persistent=False)
            self.register_buffer("band", torch.from_numpy(band), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        if not self.sound:
            return x.expand(self.steps, *x.shape)
        drive = self.drive(x)
        if self.config.axis == "width":
            spikes = windows(self._fire(drive.unbind(3)).movedim(0, 3), self.steps)
        else:
            spikes = self._fire([drive] * self.steps)
        return spikes.index_select(3, self.band).to(x.dtype)

    def drive(self, x: Tensor) -> Tensor:
        """r, ``[B, C, H, W] -> [B, C, K', W]`` in [0, 1], for the K' bands that have rows."""
        # A sum of products, as mixed precision would round a matrix product.
        level = torch.stack([(weights.unsqueeze(1) * x).sum(2) for weights in self.filters], dim=2)
        above = (level - level.mean((1, 2, 3), keepdim=True)).relu()
        # Rounding errors of a constant are not a sound.
        floor = 1e-4 * level.abs().amax((1, 2, 3), keepdim=True) + torch.finfo(level.dtype).tiny
        return above / above.amax((1, 2, 3), keepdim=True).maximum(floor)

    def _fire(self, drive: Sequence[Tensor]) -> Tensor:
        """The LIF over a sequence of drives: S times ``[...] -> [S, ...]``."""
        v = torch.zeros_like(drive[0])
        spikes = []
        for current in drive:
            v = (1 - 1 / self.config.tau) * v + current
            s = (v >= 1).to(v.dtype)
            v = v - s
            spikes.append(s)
        return torch.stack(spikes)


def filter_bank(filters: int, rows: int, rate: float, scale: str = "linear") -> np.ndarray:
    """F, float64 ``[filters, rows]``, for rows of equal width between 0 and ``rate / 2`` Hz, lowest first.

    ``scale``: on which they are equally wide, ``linear`` or ``mel``, m(f) = 2595 log10(1 + f / 700).
    """
    share = (np.arange(rows) + 0.5) / rows
    hertz = 700.0 * ((1.0 + rate / 1400) ** share - 1.0) if scale == "mel" else share * rate / 2
    spacing = erb_number(rate / 2) / filters
    centres = (np.arange(filters)[:, None] + 0.5) * spacing
    weights = np.maximum(0.0, 1.0 - np.abs(erb_number(hertz) - centres) / spacing)
    total = weights.sum(1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def erb_number(hertz: Any) -> Any:
    """E(f) = 21.4 log10(1 + 0.00437 f): the number of equivalent rectangular bandwidths below f Hz."""
    return 21.4 * np.log10(1.0 + 0.00437 * hertz)
