"""Generated recordings and pictures of realistic size, for benchmarks without a data set."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CLASSES, SECONDS, RATE, WIDTH, HEIGHT = 6, 2.5, 16_000, 480, 360
"""Classes, and the size of recordings and pictures in CREMA-D."""


@contextlib.contextmanager
def clips(samples: int) -> Iterator[Path]:
    """A temporary folder for ``av-folder`` with training clips of CREMA-D's size, and a temporary cache."""
    with tempfile.TemporaryDirectory(prefix="scmrl-clips-") as name:
        root, before = Path(name) / "clips", os.environ.get("SCMRL_CACHE")
        rng = np.random.default_rng(0)
        for number in range(samples + 2 * CLASSES):
            later = number - samples  # one clip per class for the other splits
            split = "train" if later < 0 else "validation" if later < CLASSES else "test"
            write_clip(root / split / f"class-{number % CLASSES}" / f"clip-{number:05d}", rng)
        os.environ["SCMRL_CACHE"] = str(Path(name) / "cache")
        try:
            yield root
        finally:
            os.environ.pop("SCMRL_CACHE")
            if before is not None:
                os.environ["SCMRL_CACHE"] = before


def write_clip(stem: Path, rng: np.random.Generator) -> None:
    """A gliding tone in noise as ``.wav`` and a smooth picture with some grain as ``.jpg``."""
    import soundfile
    from PIL import Image

    stem.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(int(SECONDS * RATE)) / RATE
    tone = np.sin(2 * np.pi * (rng.uniform(100, 400) + rng.uniform(-40, 40) * t) * t)
    soundfile.write(
        stem.with_suffix(".wav"), 0.3 * tone + rng.normal(scale=0.02, size=t.size), RATE, subtype="PCM_16"
    )
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float64)
    grain = rng.normal(scale=3.0, size=(HEIGHT, WIDTH, 1))
    pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(stem.with_suffix(".jpg"), quality=90)
