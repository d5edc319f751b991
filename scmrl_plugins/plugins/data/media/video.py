"""Video files to frames."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.data.media.sources import read_bytes


def decode(source: bytes | Path, name: str | Path, count: int) -> list[np.ndarray]:
    """``count`` frames, RGB uint8 ``[H, W, 3]``, from the middles of as many equal parts of the video.

    Reads what FFmpeg does (flv, mp4, avi, ...). Raises ``BadFileError``, naming ``name``, for a file that cannot
    be decoded, is cut off, or has no frames.
    """
    import av

    data = read_bytes(source, name)
    try:
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise BadFileError(name, f"not a video that can be read ({error}); copy it again") from error
    if not frames:
        raise BadFileError(name, "the video holds no frames; copy it again or leave it out")
    return [frames[(2 * place + 1) * len(frames) // (2 * count)] for place in range(count)]
