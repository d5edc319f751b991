"""Miniatures of the collections of spoken digits, of MNIST and of QMNIST's labels, each in its layout."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from scmrl_plugins.plugins.datasets.media.idx import INTEGERS, idx_bytes
from scmrl_plugins.plugins.datasets.speech.voices import WORDS

SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")
"""Some of FSDD's speakers."""
HASHES = (
    "9e4d6e3c",
    "c2094cac",
    "f7c1bd87",
    "d82c07cd",
    "629f6fbe",
    "d4713d60",
    "7c65c1e5",
    "23a7711a",
    "e3e70682",
    "48268673",
)
"""Speakers as Speech Commands names them, two of each fold. Its rule has the first for validation, the second for
the test."""


def tone(frequency: float = 440.0, rate: int = 8000, seconds: float = 0.1) -> np.ndarray:
    """A sine of half the full amplitude, ``[samples]``; frequency in Hz, rate in samples a second."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


class _Tones:
    """Writes files, every one another tone."""

    def __init__(self, rate: int) -> None:
        self.rate, self.number = rate, 0

    def write(self, path: Path) -> None:
        self.number += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = tone(100 + 5 * self.number % 3000, self.rate, seconds=0.03)
        soundfile.write(path, samples, self.rate, subtype="PCM_16")


def write_fsdd(root: Path, speakers: Sequence[str] = SPEAKERS, count: int = 8) -> None:
    """FSDD's ``recordings/{digit}_{speaker}_{i}.wav``, ``count`` a digit and speaker."""
    tones = _Tones(8000)
    for digit in range(10):
        for speaker in speakers:
            for index in range(count):
                tones.write(root / "recordings" / f"{digit}_{speaker}_{index}.wav")


def write_arabic(root: Path, speakers: int = 10, count: int = 2) -> None:
    """``dataset/<word>/<speaker>_NO_<take>.wav``, the three lists, and a word that is no digit."""
    tones = _Tones(16_000)
    names = [f"{speaker:08d}" for speaker in range(1, speakers + 1)]
    lists = {"train.csv": names[: -2 * speakers // 5], "val.csv": [], "test.csv": names[-(speakers // 5) :]}
    lists["val.csv"] = [name for name in names if name not in lists["train.csv"] + lists["test.csv"]]
    for word in (*WORDS, "backward"):
        for speaker in names:
            for take in range(1, count + 1):
                tones.write(root / "dataset" / word / f"{speaker}_NO_{take:02d}.wav")
    for list_name, members in lists.items():
        with (root / list_name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "class"))
            for word in (*WORDS, "backward"):
                for speaker in members:
                    for take in range(1, count + 1):
                        writer.writerow((f"dataset/{word}/{speaker}_NO_{take:02d}.wav", word))


def write_audiomnist(root: Path, speakers: Sequence[int] = tuple(range(1, 61)), count: int = 1) -> None:
    """``data/<speaker>/<digit>_<speaker>_<take>.wav`` and what is known about the speakers."""
    tones = _Tones(48_000)
    for speaker in speakers:
        for digit in range(10):
            for take in range(count):
                tones.write(root / "data" / f"{speaker:02d}" / f"{digit}_{speaker:02d}_{take}.wav")
    about = {f"{speaker:02d}": {"age": "30", "gender": "female"} for speaker in speakers}
    (root / "data" / "audioMNIST_meta.txt").write_text(json.dumps(about), encoding="utf-8")
    (root / "data" / f"{speakers[0]:02d}" / "notes.txt").write_text("a cold", encoding="utf-8")


def write_speech_commands(root: Path, speakers: Sequence[str] = HASHES, count: int = 2) -> None:
    """``<word>/<speaker>_nohash_<take>.wav``, both lists, a word that is no digit, and background noise."""
    tones = _Tones(16_000)
    for word in (*WORDS, "bed"):
        for speaker in speakers:
            for take in range(count):
                tones.write(root / word / f"{speaker}_nohash_{take}.wav")
    tones.write(root / "_background_noise_" / "white_noise.wav")
    for name, speaker in (("validation_list.txt", speakers[0]), ("testing_list.txt", speakers[1])):
        lines = [f"{word}/{speaker}_nohash_{take}.wav" for word in (*WORDS, "bed") for take in range(count)]
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_mnist(folder: Path, part: str = "t10k", count: int = 400, *, gz: bool = True, joint: str = "-") -> None:
    """MNIST's two idx files of one part: ``count`` different noise images of the digits in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([count, len(part)])
    images = rng.integers(0, 256, size=(count, 28, 28))
    labels = np.arange(count) % 10
    for what, array in (("images", images), ("labels", labels)):
        data = idx_bytes(array)
        path = folder / f"{part}-{what}{joint}idx{array.ndim}-ubyte{'.gz' if gz else ''}"
        path.write_bytes(gzip.compress(data) if gz else data)


def write_qmnist(folder: Path, part: str = "test", count: int = 400, first: int = 0) -> None:
    """QMNIST's labels for ``write_mnist``: every writer has ten digits, half of them in series 0, half in 4.

    ``first``: number of the first writer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.zeros((count, 8), dtype=int)
    rows[:, 0] = np.arange(count) % 10
    writers = first + np.arange(count) // 10
    rows[:, 1] = 4 * (writers % 2)
    rows[:, 2] = writers + 2100 * (writers % 2)
    path = folder / f"qmnist-{part}-labels-idx2-int.gz"
    path.write_bytes(gzip.compress(idx_bytes(rows, INTEGERS)))
