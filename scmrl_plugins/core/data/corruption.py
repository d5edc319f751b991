"""Gaussian noise on a sample, the same in training and at test time."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 1e-3
"""Difference of two standardised channels that rounding explains: pictures have 256 levels."""


def add_noise(x: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """x + n with n ~ N(0, s^2), s^2 = var(x) / 10^(snr_db / 10), for one sample ``[C, H, W]`` or ``[T, C, H, W]``.

    The signal-to-noise ratio is that of the model's input, so for audio of the log spectrogram. All channels of a
    grey picture get the same noise, so that averaging them does not remove it. The generator is on the CPU, so
    that all devices draw alike.
    """
    shape = list(x.shape)
    if is_grey(x):
        shape[-3] = 1
    noise = torch.randn(shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + noise * x.std() * 10 ** (-snr_db / 20)


def is_grey(x: Tensor) -> bool:
    """Whether all channels of ``x [C, H, W]`` or ``[T, C, H, W]`` are the same up to scale and offset.

    These may differ because pictures are normalised by channel.
    """
    if x.shape[-3] == 1:
        return False
    channels = x.movedim(-3, 0).flatten(1)
    deviation = channels.std(1, keepdim=True)
    if not deviation.all():
        return False
    standard = (channels - channels.mean(1, keepdim=True)) / deviation
    return bool((standard[1:] - standard[0]).abs().max() < _ROUNDING)
