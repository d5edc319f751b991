"""Video files to frames."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media.read import read_bytes

if TYPE_CHECKING:
    import av

SLACK = 0.5
"""Seconds that a complete video may end before the end in its header, which is not exact."""
LARGEST = 1 << 26
"""Most pixels of a plausible frame, twice those of 8K; a header with more is damaged."""


def decode(source: bytes | Path, name: str | Path, count: int) -> list[np.ndarray]:
    """``count`` frames, RGB uint8 ``[H, W, 3]``, from the middles of as many equal parts of the video.

    Reads what FFmpeg does (flv, mp4, avi, ...), upright as its rotation says; a video with fewer frames repeats
    some. Every frame is decoded once to count and check them, then again up to the last requested one, so that one
    frame at a time is in memory. Raises ``BadFileError``, naming ``name``, for a file that
    cannot be decoded, is cut off or damaged as far as its format can tell, or has no frames.
    """
    import av

    data = read_bytes(source, name)
    try:
        total = sum(1 for _ in _frames(data, name))
        if not total:
            raise BadFileError(name, "the video holds no frames; copy it again or leave it out")
        indices = [(2 * part + 1) * total // (2 * count) for part in range(count)]
        pictures = {}
        with contextlib.closing(_frames(data, name)) as frames:
            for index, frame in zip(range(indices[-1] + 1), frames, strict=False):
                if index in indices:
                    pictures[index] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        reason = (error.strerror if isinstance(error, av.FFmpegError) else None) or error
        raise BadFileError(name, f"not a video that can be read ({reason}); copy it again") from error
    return [pictures[index] for index in indices]


def _frames(data: bytes, name: str | Path) -> Generator[av.VideoFrame, None, None]:
    """The frames of the first video, in display order."""
    import av
    from av.stream import Disposition

    container: Any  # its type includes containers for writing
    with av.open(io.BytesIO(data)) as container:
        # The cover of a song is a stream, too.
        videos = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
        if not videos:
            raise BadFileError(name, "the file holds no video, though it may hold sound; copy it again")
        stream = videos[0]
        if stream.codec_context is None:
            raise BadFileError(name, "the video is of an unknown codec; convert it or copy it again")
        # Several threads decode a damaged video differently each time.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(LARGEST)}
        end = 0.0
        for packet in container.demux():
            if packet.is_corrupt:
                raise BadFileError(name, f"the video is cut off or damaged after {end:.2f} s; copy it again")
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is stream:
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise BadFileError(name, f"the video is damaged near {end:.2f} s; copy it again")
                    yield frame
        promised = (container.duration or 0) / av.time_base
        last = float(1 / stream.average_rate) if stream.average_rate else 0.0
        if end + last + SLACK < promised:
            raise BadFileError(
                name, f"the video is cut off, {end:.2f} s of {promised:.2f} s are there; copy it again"
            )
