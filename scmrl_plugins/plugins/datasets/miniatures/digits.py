"""Miniatures of FSDD and MNIST."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from scmrl_plugins.plugins.datasets.media.idx import idx_bytes

SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")
"""Some of FSDD's speakers, two of whom are held out by default."""


def tone(frequency: float = 440.0, rate: int = 8000, seconds: float = 0.1) -> np.ndarray:
    """A sine of half the full amplitude, ``[samples]``; frequency in Hz, rate in samples a second."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def write_recordings(folder: Path, speakers: Sequence[str] = SPEAKERS, count: int = 8) -> None:
    """FSDD's ``{digit}_{speaker}_{i}.wav``, ``count`` a digit and speaker, every one another tone."""
    folder.mkdir(parents=True)
    number = 0
    for digit in range(10):
        for speaker in speakers:
            for index in range(count):
                number += 1
                name = f"{digit}_{speaker}_{index}.wav"
                soundfile.write(folder / name, tone(100 + 5 * number, seconds=0.03), 8000, subtype="PCM_16")


def write_mnist(folder: Path, part: str = "t10k", count: int = 200, *, gz: bool = True, joint: str = "-") -> None:
    """MNIST's two idx files of one part: ``count`` different noise images of the digits in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([count, len(part)])
    images = rng.integers(0, 256, size=(count, 28, 28))
    labels = np.arange(count) % 10
    for what, array in (("images", images), ("labels", labels)):
        data = idx_bytes(array)
        path = folder / f"{part}-{what}{joint}idx{array.ndim}-ubyte{'.gz' if gz else ''}"
        path.write_bytes(gzip.compress(data) if gz else data)
