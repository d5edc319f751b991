"""Miniatures of data sets of Hugging Face: tables whose cells hold the files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from scmrl_plugins.plugins.datasets.miniatures.digits import tone

CLASSES = ("bell", "drum", "horn")
RATE = 22_050


def wav(number: int, rate: int = RATE) -> bytes:
    """A tone, different for each number, as the bytes of a wav file; rate in samples a second."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(200 + 7 * number, rate, 0.05), rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def png(number: int) -> bytes:
    """A picture of 24 x 20 pixels, different for each number, as the bytes of a PNG file."""
    from PIL import Image

    pixels = np.random.default_rng(number).integers(0, 256, size=(20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def table(count: int, first: int = 0) -> Any:
    """Rows with ``audio``, ``image`` and ``label``, of the classes in turn, as ``push_to_hub`` writes them."""
    import datasets
    import pyarrow

    numbers = range(first, first + count)
    features = datasets.Features(
        {"audio": datasets.Audio(), "image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    return pyarrow.table(
        {
            "audio": [{"bytes": wav(number), "path": f"{number:04d}.wav"} for number in numbers],
            "image": [{"bytes": png(number), "path": f"{number:04d}.png"} for number in numbers],
            "label": [number % len(CLASSES) for number in numbers],
        },
        schema=features.arrow_schema,
    )


def write_tables(folder: Path, train: int = 24, test: int = 9) -> None:
    """``train`` and ``test`` as the hub lays them out, no recording and no picture twice."""
    from pyarrow import parquet

    (folder / "data").mkdir(parents=True)
    parquet.write_table(table(train), folder / "data" / "train-00000-of-00001.parquet")
    parquet.write_table(table(test, train), folder / "data" / "test-00000-of-00001.parquet")
