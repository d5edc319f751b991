"""Sound files to samples, and samples to the log-magnitude spectrogram of the published models."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.media.read import read_bytes

LOG_FLOOR = 1e-7
RATES = (1_000, 384_000)
"""Plausible sample rates in Hz; a header with another one is damaged."""
HEADERS = 100
"""Files whose headers tell the sample rate of a data set."""
SILENCE = 2.0 / 32768.0
"""Largest range of the samples of digital silence: the last bit of 16."""


def decode(source: bytes | Path, name: str | Path) -> tuple[np.ndarray, int]:
    """Samples, float64 ``[n]`` in about [-1, 1], and the sample rate in Hz; channels are averaged.

    Reads what libsndfile does (wav, flac, ogg, mp3, ...). Raises ``BadFileError``, naming ``name``, for a file
    that cannot be read, is cut off, is empty, or holds NaN or infinity.
    """
    import soundfile

    data = read_bytes(source, name)
    missing = _cut_off(data)
    if missing:
        raise BadFileError(name, f"the sound file is cut off, {missing} bytes are missing; copy it again")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if not RATES[0] <= rate <= RATES[1]:
                raise BadFileError(name, f"a sample rate of {rate} Hz is no sound's; export it again")
            samples = file.read(dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        # libsndfile's own message lacks the address of the buffer.
        reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else error
        raise BadFileError(name, f"not a sound file that can be read ({reason}); give a wav file") from error
    if len(samples) == 0:
        raise BadFileError(name, "the sound file holds no samples; record it again or leave it out")
    if not np.isfinite(samples).all():
        raise BadFileError(name, "the sound file holds NaN or infinity; export it again")
    if samples.shape[1] > 1:
        warnings.warn(RepairedFileWarning(name, f"{samples.shape[1]} channels, averaged to one"), stacklevel=2)
    return samples.mean(axis=1), rate


def refuse_silence(samples: np.ndarray, name: str | Path) -> None:
    """``BadFileError`` for a silent recording, from which a model would learn the label of silence."""
    if np.ptp(samples) <= SILENCE:
        raise BadFileError(name, "the sound file holds nothing but silence; record it again or leave it out")


def _cut_off(data: bytes) -> int:
    """How many bytes of those in a RIFF header are missing; streaming recorders write no true size."""
    if len(data) < 12 or data[:4] != b"RIFF":
        return 0
    promised = int.from_bytes(data[4:8], "little")
    missing = promised + 8 - len(data)
    return missing if promised < 0x7FFF0000 and missing > 8 else 0


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Samples ``[n]`` at ``rate`` Hz to ``[n target / rate]`` at ``target`` Hz, by a polyphase filter."""
    from scipy.signal import resample_poly

    if rate == target:
        return samples
    common = math.gcd(rate, target)
    up, down = target // common, rate // common
    return resample_poly(samples, up, down, window=_low_pass(max(up, down)))


def repair_rate(samples: np.ndarray, rate: int, target: int, name: str | Path, highest: float) -> np.ndarray:
    """Samples of a file at ``target`` Hz; where it has another rate, with a ``RepairedFileWarning``.

    That also says where the file holds no frequencies up to ``highest`` Hz, which the features reach to.
    """
    if rate != target:
        what = f"{rate} Hz, resampled to {target} Hz"
        if rate / 2 < highest:
            what += f", holds nothing above {rate / 2:g} Hz, where features reach to {highest:g} Hz"
        warnings.warn(RepairedFileWarning(name, what), stacklevel=2)
    return resample(samples, rate, target)


def common_rate(sources: Sequence[bytes | Path]) -> int | None:
    """The most common sample rate in Hz of at most ``HEADERS`` files, evenly spread; of several the highest.

    Only headers are read. Files that cannot be read do not count; ``None`` if none can.
    """
    import soundfile

    rates: Counter[int] = Counter()
    for source in sources[:: math.ceil(len(sources) / HEADERS) or 1]:
        with contextlib.suppress(soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError):
            rate = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else str(source)).samplerate
            rates[rate] += RATES[0] <= rate <= RATES[1]
    return max(+rates, key=lambda rate: (rates[rate], rate), default=None)


@functools.lru_cache(maxsize=4)
def _low_pass(factor: int) -> np.ndarray:
    """The filter that ``resample_poly`` would design in every call, which takes longer than filtering."""
    from scipy.signal import firwin

    return firwin(20 * factor + 1, 1.0 / factor, window=("kaiser", 5.0))


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Samples, clamped to [-1, 1), as the bytes of a mono wav file; 16-bit samples are preserved."""
    import soundfile

    # Rounded here: what libsndfile does with floats on the way to 16 bit depends on its version.
    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def log_spectrogram(samples: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """``log(|S| + 1e-7)`` with ``S[f, t] = sum_n w[n] x[t hop + n - n_fft/2] exp(-2 pi i f n / n_fft)``.

    ``x`` is clamped to [-1, 1] and zero outside the recording, ``w`` the periodic Hann window, the transform
    not normalised. ``[n]`` samples to float64 ``[n_fft // 2 + 1, 1 + n // hop]``, so one sample is enough.
    Source: S-CMRL, arXiv 2502.12488.
    """
    # In float64: at digital silence the rounding of a float32 transform is as large as the 1e-7.
    padded = np.pad(np.clip(samples, -1.0, 1.0).astype(np.float64), (n_fft // 2, n_fft))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[: len(samples) + 1 : hop]
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
    return np.log(np.abs(np.fft.rfft(frames * window, axis=1)) + LOG_FLOOR).T
