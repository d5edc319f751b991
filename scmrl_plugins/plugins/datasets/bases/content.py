"""What only the content of clips tells: durations, a still or black picture, sound and picture of other length."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scmrl_plugins.core.interfaces import Contents, Modality, RepairedFileWarning
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.files.window import Window
from scmrl_plugins.plugins.datasets.media import audio, images, video
from scmrl_plugins.plugins.datasets.media.video import BLACK

STILL = 2
"""Grey levels by which the blocks of a still picture differ at most, which compression may change a little."""
DARK = 0.3
"""Share of black frames, at least two, from which on a video is warned of; many fade in from black."""
APART, SHARE = 0.3, 0.1
"""Seconds, and share of the longer one, by which sound and picture of a clip may differ in length."""

Source = tuple[bytes | Path, str]


def inspect(sources: Mapping[str, Source], window: Window | None, config: Any) -> Contents:
    """The contents of the files of a row, of which only the ``window`` is used. Raises ``BadFileError``."""
    span = (window.start, window.end) if window else (0.0, math.inf)
    seconds: dict[Modality, float] = {}
    notes: list[str] = []
    rate = frame_rate = size = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        if "audio" in sources:
            source, name = sources["audio"]
            sound = audio.decode_timed(source, name, config.longest_sound, config.audio_stream, span)
            audio.refuse_silence(sound.samples, name)
            rate, seconds["audio"] = sound.rate, len(sound.samples) / sound.rate
        if "visual" in sources:
            source, name = sources["visual"]
            if Path(name).suffix.lower() in VIDEOS:
                seconds["visual"], frame_rate, size = _video(source, name, span, config, notes)
            else:
                picture = images.decode_colour(source, name)
                size = (picture.shape[1], picture.shape[0])
                if np.percentile(picture, 99) <= BLACK:
                    notes.append("the picture is black")
    notes += _difference(seconds)
    return Contents(seconds, rate, frame_rate, size, tuple(notes))


def _video(
    source: bytes | Path, name: str, span: tuple[float, float], config: Any, notes: list[str]
) -> tuple[float, float | None, tuple[int, int]]:
    """Duration, frames a second, and width and height of a video; what is wrong with its picture to ``notes``."""
    longest, number = config.longest_video, config.video_stream
    times = video.times(source, name, longest, number, span, {0}, _size, outlined=True)
    known, frames = times.known(), np.stack(times.outlines)
    black = int((frames.max(axis=(1, 2)) <= BLACK).sum())
    if black >= max(2, DARK * len(frames)):
        notes.append(f"{black:,} of {len(frames):,} frames are black")
    if len(known) > 1 and black < len(frames) and np.ptp(frames, axis=0).max() <= STILL:
        notes.append(f"a still picture: its {len(known):,} frames are alike")
    lasting = known[-1] - known[0]
    rate = float((len(known) - 1) / lasting) if lasting > 0 else None
    width, height = times.pictures[0].tolist()
    return float(times.end() - known[0]), rate, (width, height)


def _size(picture: np.ndarray) -> np.ndarray:
    """Width and height of a picture ``[H, W, 3]``."""
    return np.array(picture.shape[1::-1])


def _difference(seconds: Mapping[Modality, float]) -> list[str]:
    """A note if sound and picture last differently."""
    if len(seconds) < 2:
        return []
    heard, seen = seconds["audio"], seconds["visual"]
    if abs(heard - seen) <= max(APART, SHARE * max(heard, seen)):
        return []
    return [f"its sound lasts {heard:.2f} s and its picture {seen:.2f} s"]
