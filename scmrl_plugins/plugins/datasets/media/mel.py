"""The log-mel spectrogram: the power of a sound in bands of equal width on the mel scale."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from scmrl_plugins.registry import UserError

MEL_FLOOR = 1e-10
"""Added to the power of a band: about that of the rounding of 16-bit samples, 100 dB below full scale."""
LONGEST = 16_384
"""The longest transform in samples."""
BLOCK = 4096
"""Frames that are transformed at a time, 41 s at a hop of 10 ms."""


def log_mel(
    samples: np.ndarray,
    rate: int,
    bands: int,
    lowest: float,
    highest: float,
    window_ms: float,
    hop_ms: float,
) -> np.ndarray:
    """``log(E + 1e-10)`` with ``E[b, t] = sum_k F[b, k] P[k, t]``, ``P[k, t] = 2 |X[k, t]|^2 / (n sum_i w[i]^2)``.

    ``X[k, t]`` is the transform of length n of the windowed samples around ``t hop``, zero outside the recording;
    ``w`` the periodic Hann window; ``F`` is ``filter_bank``. ``E`` is the mean square of the samples in a band:
    1/2 for a sine of amplitude 1, whatever the rate, the window and n. n is the smallest power of two that holds
    the window and whose frequencies are dense enough for the narrowest band. ``[n]`` samples at ``rate`` Hz to
    float64 ``[bands, 1 + n // hop]``. Raises ``UserError`` for more bands than can be told apart.
    """
    width = max(2, round(rate * window_ms / 1000))
    hop = max(1, round(rate * hop_ms / 1000))
    length = transform_length(rate, width, bands, lowest, highest)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(width) / width)
    padded = np.pad(samples.astype(np.float64), (width // 2, width))
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[: len(samples) + 1 : hop]
    filters, scale = filter_bank(rate, length, bands, lowest, highest), 2.0 / (length * np.sum(window**2))
    energy = [
        filters @ (np.abs(np.fft.rfft(block * window, length, axis=1)) ** 2 * scale).T for block in blocks(frames)
    ]
    return np.log(np.concatenate(energy, axis=1) + MEL_FLOOR)


def blocks(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Frames ``[t, n]`` a few thousand at a time: the spectra of an hour would take many times its samples."""
    for start in range(0, len(frames), BLOCK):
        yield frames[start : start + BLOCK]


def transform_length(rate: int, width: int, bands: int, lowest: float, highest: float) -> int:
    """The smallest power of two, at least ``width``, with a frequency in every half of a band."""
    edges = band_edges(bands, lowest, highest)
    needed = max(width, rate / (edges[1] - edges[0]))
    length = 1 << int(np.ceil(np.log2(needed)))
    if length > max(LONGEST, 2 * width):
        raise UserError(
            f"dataset.bands = {bands}: between {lowest:g} and {highest:g} Hz the narrowest band would be "
            f"{edges[2] - edges[0]:.2g} Hz wide, too narrow to hold a frequency; lower dataset.bands"
        )
    return length


@functools.lru_cache(maxsize=8)
def filter_bank(rate: int, length: int, bands: int, lowest: float, highest: float) -> np.ndarray:
    """F, float64 ``[bands, length // 2 + 1]``: triangles of height 1 on the mel scale, over k rate / length Hz.

    ``F[b, k] = max(0, 1 - |m(f_k) - c_b| / d)``, ``c_b = m(lowest) + (b + 1) d``,
    ``d = (m(highest) - m(lowest)) / (bands + 1)``: each reaches to the centres of its neighbours. Source: Davis
    and Mermelstein 1980, with the mel scale of O'Shaughnessy 1987, as in HTK.
    """
    low, high = mel(lowest), mel(highest)
    spacing = (high - low) / (bands + 1)
    centres = low + spacing * np.arange(1, bands + 1)
    frequencies = np.arange(length // 2 + 1) * (rate / length)
    return np.maximum(0.0, 1.0 - np.abs(mel(frequencies) - centres[:, None]) / spacing)


def band_edges(bands: int, lowest: float, highest: float) -> np.ndarray:
    """``[bands + 2]`` in Hz: the lower edge of the first band, the centres of all, the upper edge of the last."""
    return hertz(np.linspace(mel(lowest), mel(highest), bands + 2))


def mel(frequency: Any) -> Any:
    """``m(f) = 2595 log10(1 + f / 700)``, f in Hz."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)


def hertz(mels: Any) -> Any:
    """The frequency in Hz of a value on the mel scale: the inverse of ``mel``."""
    return 700.0 * (10.0 ** (np.asarray(mels) / 2595.0) - 1.0)
