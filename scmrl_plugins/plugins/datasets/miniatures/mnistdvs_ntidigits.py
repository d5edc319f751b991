"""Miniatures of MNIST-DVS and N-TIDIGITS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scmrl_plugins.plugins.datasets.media import aedat
from scmrl_plugins.plugins.datasets.media.events import Events

SPOKEN = "oz123456789"
SPEAKERS = {"train": ("man-ae", "man-aj", "woman-ac", "woman-ag"), "test": ("man-im", "woman-ke")}


def seen(digit: int, number: int, count: int = 300, side: int = 24) -> Events:
    """A bar through the middle of the sensor, at an angle that tells the digit, moving to the right for 2 s."""
    rng = np.random.default_rng([digit, number])
    time = np.sort(rng.integers(0, 2_000_000, count))
    along, angle = rng.uniform(-side / 2, side / 2, count), np.pi * digit / 10
    centre = aedat.SIDE / 2 + time / 500_000 + rng.normal(0, 0.5, count)
    row, column = aedat.SIDE / 2 - along * np.sin(angle), centre + along * np.cos(angle)
    return Events(time, rng.integers(0, 2, count), row.astype(int), column.astype(int))


def write_mnist_dvs(folder: Path, count: int, scale: int = 4) -> None:
    """``grabbed_data<digit>/scale<scale>/mnist_<digit>_scale<scale>_<number>.aedat``, ``count`` of each digit."""
    for digit in range(10):
        inner = folder / f"grabbed_data{digit}" / f"scale{scale}"
        inner.mkdir(parents=True)
        for number in range(1, count + 1):
            path = inner / f"mnist_{digit}_scale{scale:02}_{number:04}.aedat"
            path.write_bytes(aedat.encode(seen(digit, number)))


def heard(spoken: str, number: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and cochlea channels, six a spoken digit, of events in their order."""
    rng = np.random.default_rng([len(spoken), number, *spoken.encode()])
    time = np.sort(rng.uniform(0, 0.3 * len(spoken), count))
    position = np.minimum((time / 0.3).astype(int), len(spoken) - 1)
    first = 5 * np.array([SPOKEN.index(digit) for digit in spoken])[position]
    return time, first + rng.integers(0, 6, count)


def write_ntidigits(path: Path, speakers: dict[str, Sequence[str]] | None = None) -> None:
    """``n-tidigits.hdf5``: each speaker says every digit once, take ``a``, and some digits in a row."""
    import h5py

    with h5py.File(path, "w") as file:
        for part, names in (speakers or SPEAKERS).items():
            labels = [f"{name}-a-{spoken}" for name in names for spoken in (*SPOKEN, "z1o")]
            file[f"{part}_labels"] = np.array(labels, dtype="S")
            for number, label in enumerate(labels):
                time, channel = heard(label.rpartition("-")[2], number)
                file[f"{part}_timestamps/{label}"] = time
                file[f"{part}_addresses/{label}"] = channel
