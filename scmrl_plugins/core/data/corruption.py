"""Noise and occlusion of a sample, the same in training and at test time; modality dropout in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.config.sections import DataConfig
from scmrl_plugins.core.interfaces import MODALITIES, Modality

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


def occlude(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """x with a rectangle of about ``share`` of its pixels set to its minimum, at a random position.

    The rectangle has the proportions of x, and is the same for all channels and time steps. The minimum is the
    dark of an image and the silence of a spectrogram.
    """
    hidden = torch.ones(x.shape[-2:], dtype=torch.bool)
    for axis, size in enumerate(x.shape[-2:]):
        side = max(0, min(size, round(size * share**0.5)))
        start = int(torch.randint(0, size - side + 1, (), generator=generator))
        inside = torch.zeros(size, dtype=torch.bool)
        inside[start : start + side] = True
        hidden &= inside if axis else inside.unsqueeze(1)
    return torch.where(hidden, x.amin(), x)


def corrupt_training_sample(
    sample: Mapping[str, Any], config: DataConfig, blank: Mapping[Modality, np.ndarray], generator: torch.Generator
) -> dict[str, Any]:
    """A sample with ``data.noise`` and ``data.modality_dropout`` applied to its inputs, drawn from the generator.

    ``blank``: by modality what replaces a dropped one, as ``Dataset.blank``. One draw u ~ U(0, 1) decides about
    both modalities: audio is dropped for u < p_audio, vision for p_audio <= u < p_audio + p_visual.
    """
    result = dict(sample)
    u, below = float(torch.rand((), generator=generator)), 0.0
    for name in MODALITIES:
        above = below + config.modality_dropout.get(name, 0.0)
        noisy, level = torch.rand(2, generator=generator).tolist()
        if name in sample:
            if below <= u < above:
                result[name] = np.broadcast_to(blank[name], sample[name].shape).astype(sample[name].dtype)
            elif name in config.noise and noisy < config.noise_share:
                low, high = config.noise[name]
                x = torch.from_numpy(np.array(sample[name]))  # a copy, as stored arrays are read-only
                result[name] = add_noise(x, low + level * (high - low), generator).numpy()
        below = above
    return result
