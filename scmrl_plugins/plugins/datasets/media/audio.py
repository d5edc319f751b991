"""Sound files to samples, and samples to the log-magnitude spectrogram of the published models."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.files.window import note_rest, windows_until
from scmrl_plugins.plugins.datasets.media import cut_off
from scmrl_plugins.plugins.datasets.media.container import chosen, complete, go_near, opened_container, start_of
from scmrl_plugins.plugins.datasets.media.mel import blocks
from scmrl_plugins.plugins.datasets.media.read import opened, refused

LOG_FLOOR = 1e-7
RATES = (1_000, 384_000)
"""Plausible sample rates in Hz; a header with another one is damaged."""
HEADERS = 100
"""Files whose headers tell the sample rate of a data set."""
LONGEST = 600.0
"""Seconds of a recording at most, unless ``dataset.longest_sound`` says otherwise."""
MOST = 1 << 27
"""Samples of a recording at most, 1 GB of float64."""
LOUDEST = 8.0
"""Largest plausible sample, 18 dB above full scale; larger ones are in the scale of integers."""
OVERSHOOT = 1.1
"""Largest sample that a lossy codec may make of one at full scale."""
SLACK = {"flac": Fraction(0), "mov": Fraction(1, 4), "matroska": Fraction(1, 4), "caf": Fraction(1, 4)}
"""Seconds that a complete sound may end before the end in its header, of formats where that is no estimate."""
GAP = 0.1
"""Seconds by which time stamps may differ from the count of samples, before a clip has silence there."""
SILENCE = 2.0 / 32768.0
"""Largest range of the samples of digital silence: the last bit of 16."""


def decode(
    source: bytes | Path, name: str | Path, longest: float = LONGEST, number: int | None = None
) -> tuple[np.ndarray, int]:
    """Samples, float64 ``[n]`` in about [-1, 1], and the sample rate in Hz; channels are averaged.

    Reads wav, flac, ogg, mp3, m4a, wma, ac3 and what else ``container.FORMATS`` names, a block at a time, as
    FFmpeg does. ``number``: which stream of sound, see ``container.chosen``. Raises ``BadFileError``, naming
    ``name``, for a file that cannot be decoded, is cut off or damaged as far as its format can tell, is empty,
    holds NaN, infinity or values far outside of [-1, 1], lasts more than ``longest`` seconds or ``MOST`` samples,
    or whose channels cancel one another.
    """
    taken = _Taken(name, longest)
    with complete(source, name, "sound file") as stream:
        for block, rate, _ in _blocks(stream, name, number):
            taken.add(block, rate)
    return taken.samples(), taken.rate


@dataclass(frozen=True)
class Sound:
    """Samples ``[n]`` at ``rate`` Hz, the first of them ``start`` seconds after the start of the file."""

    samples: np.ndarray
    rate: int
    start: float = 0.0

    @property
    def end(self) -> float:
        """Seconds from the start of the file to the end of the last sample."""
        return self.start + len(self.samples) / self.rate

    def between(self, start: float, end: float) -> np.ndarray:
        """The samples from ``start`` to ``end`` seconds, at least one; zeros where there is no sound."""
        first = round((start - self.start) * self.rate)
        length = max(1, round((end - start) * self.rate))
        inside = self.samples[max(0, first) : max(0, first + length)]
        before = min(length, max(0, -first))
        return np.pad(inside, (before, length - before - len(inside)))


def decode_timed(
    source: bytes | Path,
    name: str | Path,
    longest: float = LONGEST,
    number: int | None = None,
    span: tuple[float, float] = (0.0, math.inf),
) -> Sound:
    """The sound of a file by its time stamps, as far as it is within ``span``, in seconds from the file's start.

    The start is that of its earliest stream. Where time stamps leave out more than ``GAP`` seconds there is
    silence. Raises as ``decode``, for time stamps that go back, and where no sound is within ``span``.
    """
    taken, first, end = _Taken(name, longest), 0, 0.0
    with (
        complete(source, name, "sound file") as stream,
        contextlib.closing(_blocks(stream, name, number, span[0])) as blocks,
    ):
        for block, rate, at in _placed(blocks, name):
            end = (at + len(block)) / rate
            low = max(0, math.ceil(span[0] * rate)) - at
            part = block[max(0, low) : max(0, math.ceil(min(len(block), span[1] * rate - at)))]
            if len(part):
                first = first if taken.count else at + max(0, low)
                taken.add(part, rate)
            if end >= span[1]:
                break
    if end and not taken.count:
        raise BadFileError(name, f"its sound ends at {end:.2f} s, before {span[0]:g} s; correct the window")
    return Sound(taken.samples(), taken.rate, first / taken.rate)


def windows(
    source: bytes | Path, name: str | Path, seconds: float, hop: float, number: int | None = None
) -> Generator[tuple[float, Sound], None, None]:
    """The start of each window of a sound, in seconds from the start of the file, and its sound from there.

    Windows start every ``hop`` seconds and last ``seconds``, as far as they are complete; of a shorter sound all
    is the only one. The file is decoded once, and no more of it is in memory than a window. What is behind the
    last window is a ``RepairedFileWarning``. Raises as ``decode_timed``, but for the duration of the file.
    """
    taken, first, index = _Taken(name, math.inf), 0, 0
    with (
        complete(source, name, "sound file") as stream,
        contextlib.closing(_blocks(stream, name, number)) as blocks,
    ):
        for block, rate, at in _placed(blocks, name):
            first = first if taken.count else at
            taken.add(block, rate)
            while index < windows_until((at + len(block)) / rate, seconds, hop, 0.5 / rate):
                heard = Sound(taken.samples(), rate, first / rate).between(index * hop, index * hop + seconds)
                yield index * hop, Sound(heard, rate, index * hop)
                index += 1
                first += taken.drop(round(index * hop * rate) - first)
            if hop > seconds:
                first += taken.drop(round(index * hop * rate) - first)
    if not index:
        yield 0.0, Sound(taken.samples(), taken.rate)
    else:
        note_rest(name, (first + taken.count) / taken.rate, index, seconds, hop)


class _Taken:
    """The samples of a file, as far as they are decoded, and what is wrong with them."""

    def __init__(self, name: str | Path, longest: float) -> None:
        self.name, self.longest = name, longest
        self.rate = self.count = self.channels = 0
        self.blocks: list[tuple[np.ndarray, float]] = []
        """The mean of the channels, and the largest range of the samples of any one of them."""

    def add(self, block: np.ndarray, rate: int) -> None:
        """Samples ``[n, channels]`` at ``rate`` Hz."""
        if not RATES[0] <= rate <= RATES[1]:
            raise BadFileError(self.name, f"a sample rate of {rate} Hz is no sound's; export it again")
        if self.blocks and rate != self.rate:
            raise BadFileError(
                self.name, f"its sample rate changes from {self.rate} to {rate} Hz; cut it there or convert it"
            )
        self.rate, self.count, self.channels = rate, self.count + len(block), max(self.channels, block.shape[1])
        if self.count > min(MOST, self.longest * rate):
            raise BadFileError(
                self.name,
                f"lasts more than {min(MOST / rate, self.longest):g} s; cut it, or raise dataset.longest_sound "
                f"(which allows {MOST:,} samples at most)",
            )
        if not np.isfinite(block).all():
            raise BadFileError(self.name, "the sound file holds NaN or infinity; export it again")
        if (peak := np.abs(block).max()) > LOUDEST:
            raise BadFileError(
                self.name, f"its samples reach {peak:g}, where full scale is 1; divide them by their full scale"
            )
        self.blocks.append((block.mean(axis=1), float(np.ptp(block, axis=0).max())))

    def drop(self, count: int) -> int:
        """Forget the first blocks as far as they are within ``count`` samples; the number of samples forgotten."""
        before = self.count
        while self.blocks and len(self.blocks[0][0]) <= count - (before - self.count):
            self.count -= len(self.blocks.pop(0)[0])
        return before - self.count

    def samples(self) -> np.ndarray:
        """All of them, float64 ``[n]``; with a ``RepairedFileWarning`` where channels were averaged."""
        if not self.count:
            raise BadFileError(self.name, "the sound file holds no samples; record it again or leave it out")
        mono = np.concatenate([block for block, _ in self.blocks])
        if self.channels > 1:
            if max(each for _, each in self.blocks) > SILENCE >= np.ptp(mono):
                raise BadFileError(
                    self.name, "its channels cancel one another, being of opposite phase; give one of them"
                )
            what = f"{self.channels} channels, averaged to one"
            warnings.warn(RepairedFileWarning(self.name, what), stacklevel=3)
        return mono


def _placed(
    blocks: Iterator[tuple[np.ndarray, int, float | None]], name: str | Path
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Blocks one behind the other, each with the position of its first sample, counted from the file's start.

    By their time stamps: where these leave a gap, there is silence.
    """
    at: int | None = None
    for block, rate, time in blocks:
        due = at or 0 if time is None else round(time * rate)
        at = due if at is None else at
        if due < at - GAP * rate:
            raise BadFileError(
                name, f"its time stamps go back from {at / rate:.2f} to {due / rate:.2f} s; convert it"
            )
        if due > at + GAP * rate:
            for length in [rate] * ((due - at) // rate) + [(due - at) % rate]:
                yield np.zeros((length, block.shape[1])), rate, at
                at += length
        yield block, rate, at
        at += len(block)


def _blocks(
    stream: BinaryIO, name: str | Path, number: int | None, start: float = 0.0
) -> Generator[tuple[np.ndarray, int, float | None], None, None]:
    """Samples of a sound in a file, float64 ``[n, channels]``, with their rate in Hz and the time of the first.

    The time is in seconds from the file's start, none if it is unknown. Blocks long before ``start`` are left out
    where the format allows.
    """
    import av

    streamed, mp3 = cut_off.streamed(stream), cut_off.Mp3(stream)
    with opened_container(stream) as container:
        sound, origin = _sound(container, name, number), start_of(container)
        seconds, junk = Fraction(go_near(container, sound, start)), False
        for packet in container.demux(sound):
            if packet.is_corrupt and not streamed:
                raise BadFileError(name, f"the sound file is cut off after {float(seconds):.2f} s; copy it again")
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                if container.format.name != "mp3":
                    raise
                junk = True  # which is fine behind the sound, where some players leave notes
                continue
            if (junk and frames) or any(frame.is_corrupt for frame in frames):
                raise BadFileError(name, f"the sound is damaged near {float(seconds):.2f} s; copy it again")
            if packet.size and not junk and container.format.name == "mp3":
                mp3.add(bytes(packet))
            for frame in frames:
                seconds += Fraction(frame.samples, frame.sample_rate)
                yield _samples(frame), frame.sample_rate, None if frame.pts is None else frame.time - origin
        promised = _promised(container, sound)
        if seconds < promised:
            lacking: str | None = f"{float(seconds):.2f} s of {float(promised):.2f} s are there"
        else:
            lacking = mp3.missing()
        if lacking:
            raise BadFileError(name, f"the sound file is cut off, {lacking}; copy it again")


def _sound(container: Any, name: str | Path, number: int | None) -> Any:
    """A stream of sound in a container, ready to be decoded."""
    sounds = container.streams.audio
    if not sounds:
        raise BadFileError(
            name, "the file holds no sound, though it may hold pictures; give a sound file beside it"
        )
    sound = chosen(sounds, number, name, "audio")
    codec = sound.codec_context
    if codec is None:
        raise BadFileError(name, "the sound is of an unknown codec; convert it to wav")
    codec.thread_count = 1
    if codec.name == "flac":  # whose frames have check sums
        codec.options = {"err_detect": "crccheck+explode"}
    return sound


def _promised(container: Any, sound: Any) -> Fraction:
    """Seconds that a complete sound lasts at least by the header of its file; 0 where that is an estimate."""
    slack = SLACK.get(container.format.name.split(",")[0])
    if slack is None:
        return Fraction(0)
    if sound.duration:
        return sound.duration * sound.time_base - slack
    return Fraction(container.duration or 0, 1_000_000) - slack if len(container.streams) == 1 else Fraction(0)


def _samples(frame: Any) -> np.ndarray:
    """A decoded frame to float64 ``[n, channels]``, integers divided by their full scale."""
    data = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(frame.samples, -1)
    scaled = data.astype(np.float64)
    if data.dtype == np.uint8:
        return (scaled - 128.0) / 128.0
    return scaled / -float(np.iinfo(data.dtype).min) if data.dtype.kind == "i" else scaled


def refuse_silence(samples: np.ndarray, name: str | Path) -> None:
    """``BadFileError`` for a silent recording, from which a model would learn the label of silence."""
    if len(samples) == 1:
        raise BadFileError(name, "the sound file holds a single sample; record it again or leave it out")
    if np.ptp(samples) <= SILENCE:
        what = f"one constant value, {samples[0]:.3g}" if abs(samples[0]) > SILENCE else "silence"
        raise BadFileError(name, f"the sound file holds nothing but {what}; record it again or leave it out")


def note_clamping(samples: np.ndarray, name: str | Path) -> None:
    """``RepairedFileWarning`` for samples that ``log_spectrogram`` clamps, beyond what lossy codecs overshoot."""
    if (peak := np.abs(samples).max()) > OVERSHOOT:
        warnings.warn(RepairedFileWarning(name, f"samples of up to {peak:.3g} are clamped to 1"), stacklevel=2)


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Samples ``[n]`` at ``rate`` Hz to ``[n target / rate]`` at ``target`` Hz, by a polyphase filter."""
    if rate == target:
        return samples
    from scipy.signal import resample_poly  # here, as it takes a second

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
    rates: Counter[int] = Counter()
    for source in sources[:: math.ceil(len(sources) / HEADERS) or 1]:
        with contextlib.suppress(BadFileError), opened(source, "") as stream, refused("", "", ""):
            with opened_container(stream) as container:
                rate = container.streams.audio[0].rate
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


def encode_exactly(samples: np.ndarray, rate: int) -> bytes:
    """Samples as the bytes of a mono wav file of 64-bit values, from which ``decode`` reads the same samples."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="DOUBLE")
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
    spectra = [np.log(np.abs(np.fft.rfft(block * window, axis=1)) + LOG_FLOOR) for block in blocks(frames)]
    return np.concatenate(spectra).T
