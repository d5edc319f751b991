"""Clips: a window of a recording, its sound and its frames of the same time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import BadFileError, ComponentConfig, RepairedFileWarning
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.files.window import Window
from scmrl_plugins.plugins.datasets.media import audio, video

if TYPE_CHECKING:
    from scmrl_plugins.plugins.datasets.media.front_end import FrontEnd
    from scmrl_plugins.plugins.datasets.media.picture import PictureFrontEnd

ROUNDING = 0.001
"""Seconds by which the times of frames may be rounded up, in formats that count milliseconds."""
SHORT = 0.5
"""Seconds that a window may be longer than the clip without a note."""
MIDDLE, RANDOM = "middle", "random"

Span = tuple[float, float]
"""Start and end in seconds from the start of a file."""


class ClipConfig(ComponentConfig):
    """Which part of every clip is used."""

    start: Annotated[float, Field(ge=0)] | str = Field(
        0.0,
        description="where the window starts: seconds from the start of the clip; a column of the table; "
        "'middle'; or 'random': in training one of `windows`, drawn anew by epoch, in evaluation the middle one",
    )
    seconds: Annotated[float, Field(gt=0)] | str | None = Field(
        None, description="its duration, or the name of a column of the table; none: to the end of the clip"
    )
    windows: int = Field(
        9,
        ge=3,
        le=101,
        description="windows, evenly spread over the clip, of which one is drawn (random)",
    )

    @model_validator(mode="after")
    def _windows_are_complete(self) -> ClipConfig:
        if self.start in (MIDDLE, RANDOM) and not isinstance(self.seconds, float):
            raise ValueError(f"start = {self.start!r} needs the duration of the window: set seconds to a number")
        if not self.windows % 2:
            raise ValueError(f"windows = {self.windows}: expected an odd number, of which one is in the middle")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns of a table that say where the windows are."""
        values = (self.start, self.seconds)
        return [each for each in values if isinstance(each, str) and each not in (MIDDLE, RANDOM)]


class ClipReader:
    """Windows of clips to stored arrays: the sound and the frames of the same time.

    A clip is one file with both, whose time stamps say what belongs together, or two files that start together.
    From the start of the earliest stream to the end of the latest one, there is silence where no sound is, the
    first frame before it is due, and the last one after it.
    """

    def __init__(self, config: Any, front_end: FrontEnd, pictures: PictureFrontEnd) -> None:
        self.config, self.front_end, self.pictures = config, front_end, pictures
        self.clip: ClipConfig | None = config.clip

    def decode(
        self, cells: Mapping[str, tuple[bytes | Path, str]], window: Window | None
    ) -> dict[str, np.ndarray]:
        """Files by modality to ``audio [1, S, W]`` and ``visual [frames, H, W, 3]``, as the front ends store them.

        With ``clip.start = "random"`` each of several windows, ``[n, ...]``. Raises ``BadFileError`` for a file
        that cannot be decoded, and for a window that is not in it.
        """
        span = self._span(window or Window())
        sound = self._sound(cells, span)
        heard = sound.end if sound else 0.0
        windows: list[Span] | None = None
        result = {}
        if "visual" in cells and Path(cells["visual"][1]).suffix.lower() in VIDEOS:
            windows, result["visual"] = self._seen(*cells["visual"], span, heard)
        elif "visual" in cells:
            result["visual"] = self.pictures.decode(*cells["visual"])[None]
        if sound:
            windows = windows or self._windows(span, heard, cells["audio"][1])
            result["audio"] = np.stack([self.front_end.stored(sound.between(*each)) for each in windows])
        drawn = self.clip is not None and self.clip.start == RANDOM
        return result if drawn else {name: array[0] for name, array in result.items()}

    def _span(self, window: Window) -> Span:
        """The part of the file that is read."""
        if self.clip is None or not isinstance(self.clip.start, float):
            return window.start, window.end
        start = window.start + self.clip.start
        seconds = self.clip.seconds if isinstance(self.clip.seconds, float) else math.inf
        return start, min(window.end, start + seconds)

    def _sound(self, cells: Mapping[str, tuple[bytes | Path, str]], span: Span) -> audio.Sound | None:
        """The sound within a span, at the rate of the front end."""
        if "audio" not in cells:
            return None
        (source, name), config = cells["audio"], self.config
        sound = audio.decode_timed(source, name, config.longest_sound, config.audio_stream, span)
        samples = self.front_end.prepared(sound.samples, sound.rate, name)
        return audio.Sound(samples, self.front_end.rate, sound.start)

    def _windows(self, span: Span, end: float, name: str) -> list[Span]:
        """The windows of a clip that ends at ``end``; with a ``RepairedFileWarning`` where one is longer."""
        start, wanted = span
        seconds = min(end, wanted) - start if wanted < math.inf else end - start
        if self.clip is None or isinstance(self.clip.start, float) or self.clip.columns:
            wanted = wanted if wanted < math.inf else end
            windows = [(start, wanted)]
        else:
            length = float(self.clip.seconds or 0)
            room = max(0.0, seconds - length)
            count = self.clip.windows if self.clip.start == RANDOM and room else 1
            places = np.linspace(0, room, count) if count > 1 else [room / 2]
            windows = [(start + place, start + place + length) for place in places]
        if windows[-1][1] > end + SHORT:
            what = "is shorter than the window: silence, and its last frame, are in the rest"
            warnings.warn(RepairedFileWarning(name, what), stacklevel=2)
        return windows

    def _seen(self, source: bytes | Path, name: str, span: Span, heard: float) -> tuple[list[Span], np.ndarray]:
        """The windows of a video whose sound ends at ``heard``, and their frames, ``[windows, frames, H, W, 3]``.

        Which ones these are is known before they are decoded, by the times of the packets; where these turn out to
        be wrong, the video is decoded again.
        """
        number = self.config.video_stream

        def each(picture: np.ndarray) -> np.ndarray:
            return self.pictures.stored(picture, name)

        expected = video.expected_times(source, name, number, span)
        windows, indices = (
            self._places(expected, span, heard, name) if expected.seconds else ([], np.empty(0, int))
        )
        keep = {*indices.ravel().tolist()}
        times = video.times(source, name, self.config.longest_video, number, span, keep, each)
        if times.end() <= span[0]:
            raise BadFileError(name, f"ends at {times.end():.2f} s, before {span[0]:g} s; correct the window")
        found = times.pictures
        if not (expected.seconds and keep <= found.keys() and _agree(times, expected, span)):
            windows, indices = self._places(times, span, heard, name)
            found = video.frames(source, name, {*indices.ravel().tolist()}, each, number, span[0])
        return windows, np.stack([np.stack([found[index] for index in row]) for row in indices.tolist()])

    def _places(self, times: video.Times, span: Span, heard: float, name: str) -> tuple[list[Span], np.ndarray]:
        """The windows, and the frames in the middles of equal parts of each, ``[windows, frames]``."""
        windows, count = self._windows(span, max(heard, times.end()), name), self.pictures.frames
        parts = (2 * np.arange(count) + 1) / (2 * count)
        middles = np.array([first + (last - first) * parts for first, last in windows])
        return windows, np.maximum(np.searchsorted(times.known(), middles + ROUNDING, side="right") - 1, 0)


def _agree(times: video.Times, expected: video.Times, span: Span) -> bool:
    """Whether frames are shown when they were expected to be, and the video ends then."""
    found = times.known()
    listed = expected.known()[: len(found)]
    ends = [min(each.end(), span[1]) for each in (times, expected)]
    return len(listed) == len(found) and np.abs(listed - found).max() < ROUNDING > abs(ends[0] - ends[1])


def is_clip(cells: Mapping[str, tuple[bytes | Path, str]]) -> bool:
    """Whether sound and picture are in one video file."""
    if {"audio", "visual"} - cells.keys():
        return False
    (heard, name), (seen, other) = cells["audio"], cells["visual"]
    return name == other and Path(name).suffix.lower() in VIDEOS and heard == seen


def drawn_window(stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
    """One of several windows: in training drawn from torch's generator, else the middle one."""
    import torch

    share = torch.rand(()).item() if training else 0.5
    return {name: array[min(int(share * len(array)), len(array) - 1)] for name, array in stored.items()}
