"""A miniature of a user's folder of audio files and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture, write_sound

CLASSES = ("bell", "drum", "flöte")


def write_video(path: Path, number: int, frames: int = 3, size: int = 32) -> Path:
    """A video of a gray that grows from frame to frame, in the container of its ending."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for index in range(frames):
            gray = np.full((size, size, 3), (20 * number + 60 * index) % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_av_folder(root: Path, train: int = 4, test: int = 2) -> None:
    """``{train,test}/<class>/``, each stem a wav file with a jpg or png, and with a video for drums."""
    endings = dict(zip(CLASSES, (".jpg", ".mp4", ".png"), strict=True))
    number = 0
    for split, count in (("train", train), ("test", test)):
        for name, ending in endings.items():
            for index in range(count):
                number += 1
                stem = root / split / name / f"{name} {index}"
                write_sound(stem.with_suffix(".wav"), number)
                write = write_video if ending == ".mp4" else write_picture
                write(stem.with_suffix(ending), number)
