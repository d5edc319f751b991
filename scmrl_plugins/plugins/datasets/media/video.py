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
"""Seconds that a whole video may end before its header says: writers are not that exact."""
LARGEST = 1 << 26
"""Pixels of a frame that are believed, twice those of 8K; a header that claims more is damaged."""


def decode(source: bytes | Path, name: str | Path, count: int) -> list[np.ndarray]:
    """``count`` frames, RGB uint8 ``[H, W, 3]``, from the middles of as many equal parts of the video.

    Reads what FFmpeg does (flv, mp4, avi, ...), upright as its rotation says; of a video with fewer frames some
    come twice. Every frame is decoded once to count and to check them, then those up to the last one asked for to
    take them, so that one frame at a time is in memory. Raises ``BadFileError``, naming ``name``, for a file that
    cannot be decoded, is cut off or damaged as far as its format can tell, or has no frames.
    """
    import av

    data = read_bytes(source, name)
    try:
        total = sum(1 for _ in _frames(data, name))
        if not total:
            raise BadFileError(name, "the video holds no frames; copy it again or leave it out")
        wanted = [(2 * place + 1) * total // (2 * count) for place in range(count)]
        taken = {}
        with contextlib.closing(_frames(data, name)) as frames:
            for place, frame in zip(range(wanted[-1] + 1), frames, strict=False):
                if place in wanted:
                    taken[place] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadFileError(name, f"not a video that can be read ({said}); copy it again") from error
    return [taken[place] for place in wanted]


def _frames(data: bytes, name: str | Path) -> Generator[av.VideoFrame, None, None]:
    """The frames of the first video, in the order of their display."""
    import av
    from av.stream import Disposition

    container: Any  # by its stubs it may be one that is written to
    with av.open(io.BytesIO(data)) as container:
        # The picture that goes with a song is a stream, too.
        videos = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
        if not videos:
            raise BadFileError(name, "the file holds no video, though it may hold sound; copy it again")
        stream = videos[0]
        if stream.codec_context is None:
            raise BadFileError(name, "the video is of a codec that is not known here; convert it or copy it again")
        # What several threads make of a damaged video depends on their luck.
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
