"""The front end of sound: its settings, and the way from samples to a model's input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.plugins.datasets.media import audio
from scmrl_plugins.plugins.datasets.media.mel import MEL_FLOOR, log_mel
from scmrl_plugins.plugins.datasets.media.read import refused
from scmrl_plugins.plugins.datasets.media.resize import moved, resize
from scmrl_plugins.registry import UserError

USUAL_RATE = 22_050
"""The sample rate in Hz of a data set that cannot tell the one of its files."""
BANDS = 64
"""Most mel bands unless ``bands`` says otherwise: more of them are narrower than what a window resolves."""
_TRANSFORM = {
    "log-mel": ("front_end", "lowest_hz", "highest_hz", "window_ms", "hop_ms"),
    "log-stft": ("n_fft", "hop"),
}
_EPSILON = np.float32(1e-3)


class SoundConfig(ComponentConfig):
    """Settings of every data set with sound."""

    sample_rate: int | None = Field(
        None,
        ge=audio.RATES[0],
        le=192_000,
        description="sample rate in Hz to which recordings are resampled; none: the most common one of the files",
    )
    longest_sound: float = Field(
        audio.LONGEST,
        gt=0,
        le=86_400,
        description=f"longest recording in seconds, of at most {audio.MOST:,} samples; longer ones are refused",
    )
    front_end: Literal["log-mel", "log-stft"] = Field(
        "log-mel",
        description="log-mel: the logarithm of the power in mel bands; log-stft (published): of the spectrum",
        json_schema_extra={"before": "log-stft"},
    )
    bands: int | None = Field(
        None, ge=4, le=512, description=f"mel bands (log-mel); none: model.image_size, but at most {BANDS}"
    )
    lowest_hz: float = Field(20.0, ge=0, description="lower edge of the first band in Hz (log-mel)")
    highest_hz: float | None = Field(
        None, gt=0, description="upper edge of the last band in Hz (log-mel); none: half the sample rate"
    )
    window_ms: float = Field(25.0, ge=1, le=1000, description="window length in ms (log-mel)")
    hop_ms: float = Field(10.0, ge=0.1, le=1000, description="hop between windows in ms (log-mel)")
    n_fft: int = Field(512, ge=16, le=8192, description="window length in samples (log-stft)")
    hop: int = Field(353, ge=1, le=8192, description="hop between windows in samples (log-stft)")
    standardize: Literal["recording", "split", "none"] = Field(
        "recording",
        description="recording: zero mean and unit deviation of each spectrogram; split: of each row over the "
        "training split; none: as it is (published)",
        json_schema_extra={"before": "none"},
    )
    audio_mean: tuple[float, ...] | None = Field(
        None, strict=False, description="mean of each row (split); none: measured when training starts"
    )
    audio_deviation: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None, strict=False, description="deviation of each row (split); none: measured when training starts"
    )
    time_shift: float = Field(
        0.0, ge=0, lt=1, description="largest shift in time in training, as a share of the width"
    )
    freq_shift: float = Field(
        0.0, ge=0, lt=1, description="largest shift in frequency in training, as a share of the height"
    )
    freq_mask: float = Field(0.0, ge=0, lt=1, description="maximum share of masked frequencies in training")
    time_mask: float = Field(0.0, ge=0, lt=1, description="maximum share of masked time in training")

    @model_validator(mode="after")
    def _windows_cover_the_sound(self) -> SoundConfig:
        for hop, window in (("hop", "n_fft"), ("hop_ms", "window_ms")):
            values = dict(self)
            if values[hop] > values[window]:
                raise ValueError(
                    f"{hop} {values[hop]:g} is larger than {window} {values[window]:g}: samples between windows "
                    f"would be ignored"
                )
        if self.highest_hz is not None and self.highest_hz <= self.lowest_hz:
            raise ValueError(f"highest_hz {self.highest_hz:g} is not above lowest_hz {self.lowest_hz:g}")
        if (self.audio_mean is None) != (self.audio_deviation is None):
            raise ValueError("audio_mean and audio_deviation belong together: set both or none")
        return self


class FrontEnd:
    """Samples of any rate to a spectrogram ``[1, S, W]``, which is stored, and that to the model's input.

    W is S times ``slices``, the number of equal parts of the time that are inputs of their own. ``log-mel`` is
    ``mel.log_mel``, ``log-stft`` is ``audio.log_spectrogram``, both of the complete recording, the lowest
    frequency in row 0, resized bilinearly to S x W whatever the duration. Raises ``UserError`` for bands above
    half the sample rate, or too many of them.
    """

    def __init__(self, config: SoundConfig, size: int, slices: int = 1) -> None:
        self.config, self.size, self.slices = config, size, slices
        self.rate = config.sample_rate or USUAL_RATE
        self.bands = config.bands or min(size, BANDS)
        self.mel = config.front_end == "log-mel"
        self.highest = self.rate / 2 if config.highest_hz is None or not self.mel else config.highest_hz
        if self.highest > self.rate / 2:
            raise UserError(
                f"dataset.highest_hz = {self.highest:g}: at {self.rate} Hz a recording holds frequencies up to "
                f"{self.rate / 2:g} Hz; lower it, or raise dataset.sample_rate"
            )

        self.statistics = self._statistics()

    def _statistics(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and deviation of each row, float32 ``[S, 1]``; none if they are not set."""
        columns = []
        for name in ("audio_mean", "audio_deviation"):
            values = dict(self.config)[name]
            if values is None:
                return None
            if len(values) not in (1, self.size):
                raise UserError(
                    f"dataset.{name} has {len(values)} values, and a spectrogram {self.size} rows "
                    f"(model.image_size); give one for each, one for all, or none to measure them"
                )
            columns.append(np.array(values, np.float32)[:, None])
        return columns[0], columns[1]

    def key(self) -> Mapping[str, Any]:
        """The settings and sizes that stored spectrograms depend on."""
        settings = self.config.model_dump(include=set(_TRANSFORM[self.config.front_end]))
        sizes = {"sample_rate": self.rate, "image_size": self.size, "longest_sound": self.config.longest_sound}
        if self.slices > 1:
            sizes["slices"] = self.slices
        return {**settings, **sizes, **({"bands": self.bands, "highest_hz": self.highest} if self.mel else {})}

    def decode(self, source: bytes | Path, name: str, number: int | None = None) -> np.ndarray:
        """A file to a spectrogram, float32 ``[1, S, W]``. Raises as ``audio.decode`` and ``spectrogram``."""
        samples, rate = audio.decode(source, name, self.config.longest_sound, number)
        with refused(name, "its spectrogram cannot be computed", "cut it, or lower dataset.sample_rate"):
            return self.spectrogram(samples, rate, name)

    def spectrogram(self, samples: np.ndarray, rate: int, name: Any) -> np.ndarray:
        """Samples ``[n]`` at ``rate`` Hz to float32 ``[1, S, W]``, not standardised. Raises as ``prepared``."""
        return self.stored(self.prepared(samples, rate, name))

    def prepared(self, samples: np.ndarray, rate: int, name: Any) -> np.ndarray:
        """Samples at ``rate`` Hz to ones at the rate of the front end.

        Raises ``BadFileError`` for silence. A recording of another rate is resampled, with a
        ``RepairedFileWarning`` that names the file.
        """
        audio.refuse_silence(samples, name)
        samples = audio.repair_rate(samples, rate, self.rate, name, self.highest)
        if not self.mel:
            audio.note_clamping(samples, name)
        return samples

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Samples at the rate of the front end to a spectrogram, float32 ``[1, S, W]``."""
        if self.mel:
            settings = self.config
            spectrogram = log_mel(
                samples,
                self.rate,
                self.bands,
                settings.lowest_hz,
                self.highest,
                settings.window_ms,
                settings.hop_ms,
            )
        else:
            spectrogram = audio.log_spectrogram(samples, self.config.n_fft, self.config.hop)
        return resize(spectrogram, self.size, self.size * self.slices)[None]

    @property
    def blank(self) -> np.ndarray:
        """The input of digital silence, float32 ``[1, 1, 1]``, or ``[1, S, 1]`` where each row is standardised.

        0 where a recording is standardised by itself.
        """
        silence = np.log(MEL_FLOOR if self.mel else audio.LOG_FLOOR)
        return self._standardized(np.full((1, 1, 1), silence, np.float32))

    def inputs(self, stored: np.ndarray, training: bool) -> np.ndarray:
        """A stored spectrogram to the model's input, ``[1, S, S]`` or slice by slice ``[T, 1, S, S]``.

        In training it is shifted and masked.

        Random draws come from torch's generator. Raises ``UserError`` for rows that are not measured yet.
        """
        x = self._standardized(stored)
        x = self._masked(self._shifted(x)) if training else x
        if self.slices == 1:
            return x
        return np.ascontiguousarray(x.reshape(1, self.size, self.slices, self.size).transpose(2, 0, 1, 3))

    def measured(self, stored: Iterable[np.ndarray]) -> dict[str, Any]:
        """The settings of ``standardize = "split"``: mean and deviation of each row of ``[..., S, W]``.

        Over all recordings and columns. No settings for another ``standardize``, if they are set, or without
        spectrograms.
        """
        if self.config.standardize != "split" or self.statistics is not None:
            return {}
        count, total, squares = 0, np.zeros(self.size), np.zeros(self.size)
        for spectrogram in stored:
            rows = np.moveaxis(spectrogram, -2, 0).reshape(self.size, -1).astype(np.float64)
            count += rows.shape[1]
            total += rows.sum(1)
            squares += (rows**2).sum(1)
        if not count:
            return {}
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return {"audio_mean": tuple(mean.tolist()), "audio_deviation": tuple(deviation.tolist())}

    def _standardized(self, x: np.ndarray) -> np.ndarray:
        """``(x - mean) / (deviation + 1e-3)``, of x itself or of each row over the training split; or x."""
        if self.config.standardize == "none":
            return x
        if self.config.standardize == "recording":
            return (x - x.mean()) / (x.std() + _EPSILON)
        if self.statistics is None:
            raise UserError(
                "dataset.standardize = 'split': the rows are measured when training starts; train first, or set "
                "dataset.audio_mean and dataset.audio_deviation"
            )
        mean, deviation = self.statistics
        return (x - mean) / (deviation + _EPSILON)

    def _shifted(self, x: np.ndarray) -> np.ndarray:
        """x moved along frequency and time, each by a whole number of cells up to its share of the axis.

        What moves in repeats the edge.
        """
        import torch

        for axis, share in ((1, self.config.freq_shift), (2, self.config.time_shift)):
            if most := round(share * x.shape[axis]):
                x = moved(x, axis, -int(torch.randint(-most, most + 1, ())))
        return x

    def _masked(self, x: np.ndarray) -> np.ndarray:
        """x with a band of frequencies and a stretch of time set to its mean (SpecAugment, arXiv 1904.08779)."""
        import torch

        shares = (self.config.freq_mask, self.config.time_mask)
        if not any(shares):
            return x
        masked, mean = x.copy(), x.mean()
        for axis, share in zip((1, 2), shares, strict=True):
            length = masked.shape[axis]
            width, position = torch.rand(2).tolist()
            hidden = round(width * share * length)
            start = round(position * (length - hidden))
            masked[(slice(None),) * axis + (slice(start, start + hidden),)] = mean
        return masked
