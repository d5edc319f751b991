"""Clips with their own sound, as the miniatures of data sets of videos have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scmrl_plugins.plugins.datasets.miniatures.digits import tone

RATE = 16_000


def write_clip(
    path: Path,
    number: int,
    *,
    frames: int = 6,
    rate: int = 12,
    size: tuple[int, int] = (32, 24),
    moving: bool = True,
    bright: float = 1.0,
    loud: float = 1.0,
    heard_seconds: float | None = None,
) -> Path:
    """An MPEG-4 video of ``size`` (width, height) with a mono tone of the same duration.

    Colour and pitch are of the number's. A bright bar wanders down, unless the picture is not ``moving``;
    ``bright`` and ``loud`` scale the grey levels and the tone, which lasts ``heard_seconds`` where that is given.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    colour = np.random.default_rng(number).integers(30, 128, 3).astype(np.uint8)
    samples = loud * tone(200 + 30 * (number % 50), RATE, heard_seconds or frames / rate)
    with av.open(str(path), "w") as container:
        seen: Any = container.add_stream("mpeg4", rate=rate)
        seen.width, seen.height, seen.pix_fmt = width, height, "yuv420p"
        heard: Any = container.add_stream(container.default_audio_codec, rate=RATE, layout="mono")
        for index in range(frames):
            picture = np.tile(colour, (height, width, 1))
            top = index * height // frames if moving else 0
            picture[top : top + height // 4] = 255
            picture = (bright * picture).astype(np.uint8)
            container.mux(seen.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(seen.encode(None))
        sound = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
        sound.sample_rate = RATE
        container.mux([*heard.encode(sound), *heard.encode(None)])
    return path
