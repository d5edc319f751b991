"""Clips: a window of a recording, its sound and its frames of the same time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
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
STRIKING = 12.0
"""Grey levels, of the root mean square over blocks, by which a striking frame differs from those around it."""

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
        self.striking = config.align == "step" and config.step_frame == "striking"

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
        """The part of the file that is read. Where a table says a window, this is the whole answer."""
        if self.clip is None or self.clip.columns or not isinstance(self.clip.start, float):
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

    def _windows(self, span: Span, end: float, name: str | None = None) -> list[Span]:
        """The windows of a clip that ends at ``end``; with ``name`` a ``RepairedFileWarning`` if one is longer."""
        start, wanted = span
        seconds = min(end, wanted) - start if wanted < math.inf else end - start
        if self.clip is None or isinstance(self.clip.start, float) or self.clip.columns:
            windows = [(start, wanted if wanted < math.inf else end)]
        else:
            length = float(self.clip.seconds or 0)
            room = max(0.0, seconds - length)
            count = self.clip.windows if self.clip.start == RANDOM and room else 1
            places = np.linspace(0, room, count) if count > 1 else [room / 2]
            windows = [(start + place, start + place + length) for place in places]
        if name and windows[-1][1] > end + SHORT:
            what = "is shorter than the window: silence, and its last frame, are in the rest"
            warnings.warn(RepairedFileWarning(name, what), stacklevel=2)
        return windows

    def _seen(self, source: bytes | Path, name: str, span: Span, heard: float) -> tuple[list[Span], np.ndarray]:
        """The windows of a video whose sound ends at ``heard``, and their frames, ``[windows, frames, H, W, 3]``.

        Which ones these are is expected from the times of the packets. Those that are not, as where these turn out
        to be wrong or frames are striking, are decoded again.
        """
        number, count, striking = self.config.video_stream, self.pictures.frames, self.striking

        def each(picture: np.ndarray) -> np.ndarray:
            return self.pictures.stored(picture, name)

        def placed(times: video.Times, noted: str | None = None) -> tuple[list[Span], np.ndarray]:
            windows = self._windows(span, max(heard, times.end()), noted)
            return windows, in_middles(times.known(), windows, count)

        expected = video.expected_times(source, name, number, span)
        keep = {*placed(expected)[1].ravel().tolist()} if expected.seconds else set()
        times = video.times(source, name, self.config.longest_video, number, span, keep, each, outlined=striking)
        if times.end() <= span[0]:
            raise BadFileError(name, f"ends at {times.end():.2f} s, before {span[0]:g} s; correct the window")
        windows, indices = placed(times, name)
        if striking:
            indices = striking_frames(times, windows, indices)
        found = times.pictures
        if missing := {*indices.ravel().tolist()} - found.keys():
            found |= video.frames(source, name, missing, each, number, span[0])
        return windows, np.stack([np.stack([found[index] for index in row]) for row in indices.tolist()])


def in_middles(times: np.ndarray, windows: Sequence[Span], count: int) -> np.ndarray:
    """The frames shown in the middles of ``count`` equal parts of windows, ``[windows, count]``.

    ``times``: when each frame is shown.
    """
    parts = (2 * np.arange(count) + 1) / (2 * count)
    middles = np.array([first + (last - first) * parts for first, last in windows])
    return np.maximum(np.searchsorted(times, middles + ROUNDING, side="right") - 1, 0)


def striking_frames(times: video.Times, windows: Sequence[Span], indices: np.ndarray) -> np.ndarray:
    """``indices``, the frames in the middles of parts of windows, ``[windows, parts]``, or others in these parts.

    These differ clearly for a moment from those around them, such as a flash: d is the distance of a frame to the
    median of those of its part and of the two beside it, the root mean square over the blocks of the outlines.
    Frames with d > 2 d(middle) + ``STRIKING`` stand out, if there are others in these three parts before and after
    them. The one with the largest d is taken, unless it is black.
    """
    known, result = times.known(), indices.copy()
    outlines = np.stack(times.outlines).reshape(len(known), -1).astype(np.float32)
    centers = (known + np.append(known[1:], times.end())) / 2
    for row, (first, last) in enumerate(windows):
        edges = np.linspace(first, last, indices.shape[1] + 1)
        starts = np.searchsorted(centers, edges)
        for part, middle in enumerate(indices[row]):
            low, high = starts[max(0, part - 1)], starts[min(part + 2, len(edges) - 1)]
            if not low <= middle < high:
                continue
            around = outlines[low:high]
            distances = np.sqrt(np.mean((around - np.median(around, axis=0)) ** 2, axis=1))
            out = distances > 2 * distances[middle - low] + STRIKING
            usual = np.flatnonzero(~out)
            out[: usual[0]] = out[usual[-1] :] = False
            out &= around.max(axis=1) > video.BLACK
            within = slice(starts[part] - low, starts[part + 1] - low)
            if out[within].any():
                result[row, part] = starts[part] + np.argmax(np.where(out, distances, -1)[within])
    return result


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
