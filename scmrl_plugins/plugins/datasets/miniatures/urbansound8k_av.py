"""A miniature of UrbanSound8K-AV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from scmrl_plugins.plugins.datasets.miniatures.digits import tone

HEADER = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")


def write_sound(path: Path, number: int, rate: int = 22_050) -> Path:
    """A tone of 0.05 s, another for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(200 + 30 * number, rate, 0.05), rate, subtype="PCM_16")
    return path


def write_picture(path: Path, number: int, size: int = 24) -> Path:
    """A picture of noise over a colour, different for each number, in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 192, 3) + rng.integers(0, 64, (size, size + 8, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def write_urbansound8k_av(root: Path, classes: Sequence[str], recordings: int = 4, slices: int = 2) -> None:
    """Both folders and ``metadata/UrbanSound8K.csv``; a recording's slices are all in one fold."""
    rows: list[tuple[object, ...]] = []
    for label, name in enumerate(classes):
        for index in range(recordings):
            recording = 1000 + recordings * label + index
            for cut in range(slices):
                stem = f"{recording}-{label}-0-{cut}"
                write_sound(root / "Dataset_v3_sound" / name / f"{stem}.wav", recording - 1000)
                write_picture(root / "Dataset_v3_vision" / name / f"{stem}.jpg", len(rows))
                fold = 1 + recording % 10
                rows.append((f"{stem}.wav", recording, 4.0 * cut, 4.0 * cut + 4.0, 1, fold, label, name))
    (root / "metadata").mkdir()
    with (root / "metadata" / "UrbanSound8K.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
