"""Video files with their own sound, in which a flash and a beep happen at the same known time."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

SIZE = 32
SECONDS = 4.0
RATE = 16_000


def even(rate: float = 25.0, start: float = 0.0, seconds: float = SECONDS) -> list[float]:
    """Times of frames at a constant rate."""
    return (start + np.arange(round(seconds * rate)) / rate).tolist()


def clip(
    event: float,
    *,
    format: str = "mp4",
    codecs: tuple[str, str] = ("mpeg4", "aac"),
    times: Sequence[float] | None = None,
    sound: tuple[float, float] = (0.0, SECONDS),
    lasting: float = 0.2,
    b_frames: int = 0,
    rate: Fraction = Fraction(25),
    change: Callable[[Any], bool] = lambda packet: True,
    options: dict[str, str] | None = None,
) -> bytes:
    """A dark clip in which it flashes and beeps, ``lasting`` seconds around ``event`` seconds, one frame at least.

    ``times``: of the frames; ``sound``: from when to when. ``change`` may change a packet, and says whether it is
    written.
    """
    times = even() if times is None else times
    nearest = min(times, key=lambda time: abs(time - event))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format, options=options or {}) as container:
        video = container.add_stream(codecs[0], rate=rate)
        video.width, video.height, video.pix_fmt = SIZE, SIZE, "yuv420p"
        base = 1 / rate if format in ("avi", "mpeg") or rate != 25 else Fraction(1, 1000)
        video.codec_context.time_base = base
        video.codec_context.gop_size = 10
        if b_frames:
            video.codec_context.max_b_frames = b_frames
        audio = container.add_stream(codecs[1], rate=RATE)
        audio.layout = "mono"
        packets = []
        for time in times:
            gray = np.full(
                (SIZE, SIZE, 3), 230 if time == nearest or abs(time - event) <= lasting / 2 else 20, np.uint8
            )
            frame = av.VideoFrame.from_ndarray(gray, format="rgb24")
            frame.pts, frame.time_base = round(time / base), base
            packets += video.encode(frame)
        packets += video.encode(None)
        at = np.arange(round(sound[0] * RATE), round(sound[1] * RATE))
        wave = np.sin(2 * np.pi * 1000 * at / RATE) * np.where(np.abs(at / RATE - event) <= lasting / 2, 0.5, 1e-3)
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, int(at[0]), Fraction(1, RATE)
        resampler = av.AudioResampler(
            audio.codec_context.format, "mono", RATE, audio.codec_context.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            packets += audio.encode(part)
        packets += audio.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base if packet.dts is not None else 0)
        for packet in packets:
            if change(packet):
                container.mux(packet)
    return buffer.getvalue()
