"""Spoken and written digits: rows of a recording and a small gray picture, and their transforms."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import MODALITIES, ModelConfig, Span
from scmrl_plugins.plugins.datasets.bases.sound import SoundDataset
from scmrl_plugins.plugins.datasets.bases.tasks import TASKS, Task, TaskName
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.files.samples import table
from scmrl_plugins.plugins.datasets.media import audio as sound
from scmrl_plugins.plugins.datasets.media import images, video
from scmrl_plugins.plugins.datasets.media.front_end import SoundConfig
from scmrl_plugins.plugins.datasets.media.picture import shifted, turned
from scmrl_plugins.plugins.datasets.media.read import source_of
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

VERSION = 2
"""Incremented when the result of ``transform`` changes."""


class DigitsConfig(SoundConfig):
    """Settings of every digit data set."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits and of the pairing")
    task: TaskName = Field(
        "same",
        description="same: which digit is said and shown; match: is the digit said the digit shown; sum: of both, "
        "modulo 10; select: the digit said or the digit shown, as a cue in the picture tells",
    )
    n_fft: int = Field(256, ge=16, le=8192, description="window length in samples (log-stft)")
    hop: int = Field(80, ge=1, le=8192, description="hop between windows in samples (log-stft)")
    shift: float = Field(
        0.0, ge=0, le=0.5, description="largest translation of the picture in training, as a share of the side"
    )
    rotate: float = Field(0.0, ge=0, le=180, description="largest rotation of the picture in training, in degrees")
    zoom: float = Field(
        0.0, ge=0, lt=1, description="largest change of the size of the picture in training, as a share of it"
    )


class Row(NamedTuple):
    """One pair: a wav file or its bytes, the bytes of a PNG file, the label, an id unique in its split, and the
    values of ``Dataset.group_columns``.
    """

    audio: Path | bytes
    visual: bytes
    label: int
    id: str
    groups: tuple[str, ...]


class Digits(SoundDataset):
    """Recordings and images of the ten digits: spectrograms and gray values, each ``[1, S, S]``.

    S is the model's ``image_size``; ``FrontEnd`` computes the spectrograms. Images are gray values in [0, 1],
    light strokes on dark, resized bilinearly.
    """

    Config: ClassVar[type[DigitsConfig]] = DigitsConfig
    # Digits need neither the published model's size nor a hundred epochs.
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"steps": 4, "embed_dims": 32, "num_heads": 4, "image_size": 28},
        "train": {"epochs": 8, "batch_size": 32, "lr": 4e-3, "warmup_epochs": 0, "schedule": "step"},
    }
    channels: Mapping[str, int] = {"audio": 1, "visual": 1}
    group_columns: Sequence[str] = ("speaker",)
    native_size: ClassVar[int]
    """Height and width of the data set's own images."""

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes = self.task.classes

    @classmethod
    def native_rate(cls, config: Any) -> int:
        """8,000 Hz, as FSDD has it."""
        return 8000

    @property
    def task(self) -> Task:
        """What is asked about a pair."""
        return TASKS[self.config.task]

    def transform_key(self) -> Mapping[str, Any]:
        """The settings and sizes that the stored arrays depend on."""
        return {"version": VERSION, **self.front_end.key()}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        """Rows to ``audio`` and ``visual``, float32 ``[B, 1, S, S]``; a modality that is absent is left out.

        Raises ``BadFileError`` for a file that cannot be decoded or is silent, and ``UserError`` for a column that
        only some rows have.
        """
        decoders = {"audio": self._spectrogram, "visual": self._image}
        result: dict[str, np.ndarray] = {}
        for modality in MODALITIES:
            cells = rows.get(modality) or []
            empty = [cell is None for cell in cells]
            if all(empty):  # and where there are no cells
                continue
            if any(empty):
                row = empty.index(True)
                raise UserError(f"row {row} of the batch has no {modality}, others have; leave it out")
            decoded = _Once(decoders[modality])
            result[modality] = np.stack([decoded(cell) for cell in cells])[:, None]
        return result

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        """The stored arrays of a sample to ``audio`` and ``visual``, ``[1, S, S]``."""
        inputs = dict(stored)
        if "audio" in inputs:
            inputs["audio"] = self.front_end.inputs(inputs["audio"], training)
        if "visual" in inputs and training:
            picture = turned(inputs["visual"], self.config.rotate, self.config.zoom)
            inputs["visual"] = shifted(picture, self.config.shift)
        return inputs

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row from the user's files, ``{"audio": {"bytes", "path"}, "visual": ...}``; ``None`` if not given.

        The recording must have ``config.sample_rate`` and the image the data set's own size; with ``convert`` they
        are resampled and resized. Of a video, the frame in the middle is the image. The image is not inverted:
        strokes are light on a dark ground. Raises ``UserError`` for files that are missing, unreadable or of
        another rate or size.
        """
        return {
            "audio": self._read_audio(Path(audio), convert) if audio is not None else None,
            "visual": self._read_visual(Path(visual), convert) if visual is not None else None,
        }

    def part(
        self, audio: Path | None, visual: Path | None, window: Span, *, convert: bool = False
    ) -> dict[str, Any]:
        """One row of a part of a recording, with the picture."""
        picture = self._still(visual, convert)
        if audio is None:
            return {"audio": None, "visual": picture}
        span = (window[0], math.inf if window[1] is None else window[1])
        heard = sound.decode_timed(audio, audio, self.config.longest_sound, span=span)
        return {"audio": self._cell(heard.samples, heard.rate, audio, convert), "visual": picture}

    def windows(
        self, audio: Path | None, visual: Path | None, seconds: float, hop: float, *, convert: bool = False
    ) -> Iterator[tuple[float, float, dict[str, Any]]]:
        """Rows of parts of a recording, all with the one picture."""
        picture = self._still(visual, convert)
        for start, heard in self.heard(audio or visual, seconds, hop):
            cell = self._cell(heard.samples, heard.rate, audio, convert)
            yield start, heard.end, {"audio": cell, "visual": picture}

    def _still(self, path: Path | None, convert: bool) -> dict[str, Any] | None:
        """The cell of the picture that goes with parts of a recording."""
        if path is not None and path.suffix.lower() in VIDEOS:
            raise UserError(f"{path}: digits have one picture, also with a part of the sound; give a picture")
        return None if path is None else self._read_visual(path, convert)

    def _read_audio(self, path: Path, convert: bool) -> dict[str, Any]:
        samples, rate = sound.decode(path, path, self.config.longest_sound)
        return self._cell(samples, rate, path, convert)

    def _cell(self, samples: np.ndarray, rate: int, path: object, convert: bool) -> dict[str, Any]:
        """The cell of a recording at the rate of the data set."""
        expected = self.config.sample_rate
        if rate != expected:
            if not convert:
                raise UserError(
                    f"{path}: sample rate {rate} Hz, this model expects {expected} Hz; "
                    f"convert it or pass --convert"
                )
            samples = sound.resample(samples, rate, expected)
        return {"bytes": sound.encode_wav(samples, expected), "path": str(path)}

    def _read_visual(self, path: Path, convert: bool) -> dict[str, Any]:
        if path.suffix.lower() in VIDEOS:
            [middle] = video.decode(path, path, 1, self.config.longest_sound)
            gray = images.gray(middle)
        else:
            gray = images.decode(path, path)
        expected = self.native_size
        if gray.shape != (expected, expected):
            if not convert:
                raise UserError(
                    f"{path}: image of {gray.shape[1]}x{gray.shape[0]} pixels, this model expects "
                    f"{expected}x{expected}; resize it or pass --convert"
                )
            gray = resize(gray, expected)
        return {"bytes": images.encode_png(gray), "path": str(path)}

    def _spectrogram(self, cell: Mapping[str, Any]) -> np.ndarray:
        return self.front_end.decode(*source_of(cell, "audio"))[0]

    def _image(self, cell: Mapping[str, Any]) -> np.ndarray:
        return resize(images.decode(*source_of(cell, "visual")), self.image_size)


class _Once:
    """Decodes each file of a batch once: the pairs of a recording follow each other."""

    def __init__(self, decode: Callable[[Mapping[str, Any]], np.ndarray]) -> None:
        self._decode = decode
        self._decoded: dict[tuple[Any, Any], np.ndarray] = {}

    def __call__(self, cell: Mapping[str, Any]) -> np.ndarray:
        key = cell.get("path"), cell.get("bytes")
        if key not in self._decoded:
            self._decoded[key] = self._decode(cell)
        return self._decoded[key]


def to_dataset(rows: Iterable[Row], split: str, classes: Sequence[str], groups: Sequence[str]) -> datasets.Dataset:
    """Rows as a Hugging Face data set in memory with ``audio``, ``visual``, ``label``, ``id`` and the groups."""
    kept = list(rows)
    # datasets would pickle the complete table for a fingerprint, which takes three times its size in memory.
    digest = hashlib.sha256(split.encode())
    for row in kept:
        audio = row.audio if isinstance(row.audio, bytes) else str(row.audio).encode()
        for part in (audio, row.visual, str(row.label).encode(), row.id.encode()):
            digest.update(hashlib.sha256(part).digest())
    return table(
        [
            {"bytes": row.audio, "path": None} if isinstance(row.audio, bytes) else {"path": str(row.audio)}
            for row in kept
        ],
        [{"bytes": row.visual, "path": None} for row in kept],
        [row.label for row in kept],
        [row.id for row in kept],
        classes,
        split,
        digest.hexdigest()[:16],
        {name: [row.groups[position] for row in kept] for position, name in enumerate(groups)},
    )
