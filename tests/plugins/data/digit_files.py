"""Miniatures of the public data sets in their own formats, and small data sets on them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.data.av_digits import AVDigits
from scmrl_plugins.plugins.data.spoken_digits import SpokenDigits

REAL = Path(__file__).parents[4] / "shared" / "data"
SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")


def tone(frequency: float = 440.0, rate: int = 8000, seconds: float = 0.1) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def write_recordings(folder: Path, speakers: Sequence[str] = SPEAKERS, count: int = 8) -> None:
    """Every recording another tone, so that each one's bytes are its own."""
    folder.mkdir(parents=True)
    number = 0
    for digit in range(10):
        for speaker in speakers:
            for index in range(count):
                number += 1
                name = f"{digit}_{speaker}_{index}.wav"
                soundfile.write(folder / name, tone(100 + 5 * number, seconds=0.03), 8000, subtype="PCM_16")


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, part: str = "t10k", count: int = 200, *, gz: bool = True, joint: str = "-") -> None:
    """``count`` images, each with pixels of its own, of the digits in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([count, len(part)])
    images = rng.integers(0, 256, size=(count, 28, 28))
    labels = np.arange(count) % 10
    for what, array in (("images", images), ("labels", labels)):
        data = idx_bytes(array)
        path = folder / f"{part}-{what}{joint}idx{array.ndim}-ubyte{'.gz' if gz else ''}"
        path.write_bytes(gzip.compress(data) if gz else data)


def spoken(root: Path | None, **settings: object) -> SpokenDigits:
    config = SpokenDigits.Config.model_validate({"root": str(root) if root else None, **settings})
    return SpokenDigits(config, ModelConfig(image_size=28))


def av(image_size: int = 28, **settings: object) -> AVDigits:
    config = AVDigits.Config.model_validate({"images": 100, "pairs": 1, "test_pairs": 2, **settings})
    return AVDigits(config, ModelConfig(image_size=image_size))
