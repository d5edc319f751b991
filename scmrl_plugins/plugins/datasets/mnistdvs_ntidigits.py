"""MNIST-DVS beside N-TIDIGITS: digits as a silicon retina saw them and as a silicon cochlea heard them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import MODALITIES, BadFileError, ComponentConfig, ModelConfig
from scmrl_plugins.plugins.datasets.bases.files import FileDataset
from scmrl_plugins.plugins.datasets.bases.tasks import DIGITS
from scmrl_plugins.plugins.datasets.files.folders import files_below, root_folder
from scmrl_plugins.plugins.datasets.files.samples import Listing, Sample, first_bad
from scmrl_plugins.plugins.datasets.files.splits import ClassCycle, grouped
from scmrl_plugins.plugins.datasets.media import aedat
from scmrl_plugins.plugins.datasets.media.events import Bins, Events, to_frames
from scmrl_plugins.plugins.datasets.media.read import read_bytes, source_of
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.plugins.datasets.miniatures.mnistdvs_ntidigits import write_mnist_dvs, write_ntidigits
from scmrl_plugins.plugins.datasets.sources import mnist_dvs, ntidigits
from scmrl_plugins.registry import UserError

VERSION = 1
"""Incremented when the result of ``transform`` changes."""
NTIDIGITS = "n-tidigits.hdf5"


class MNISTDVSNTIDIGITS(FileDataset):
    """MNIST-DVS's AEDAT files with recordings of the same digit from N-TIDIGITS, binned into T frames each.

    Visual: the middle of the 128 x 128 sensor, ``[T, 2, S, S]``, less light and more light; audio: 64 cochlea
    channels as 8 x 8 points, ``[T, 1, S, S]``; both are resized bilinearly to the model's ``image_size`` S.
    MNIST-DVS has a thousand recordings of each digit and scale: half are for training and half for the test, each
    in one pair. N-TIDIGITS has its own test split, of other speakers. It has fewer recordings, so they come in
    several pairs of a split, never in two splits. Some of the training recordings, and of N-TIDIGITS some of the
    training speakers, are kept for validation.

    S-CMRL (arXiv 2502.12488) splits and pairs in this way, without a validation split, and reports the best test
    epoch; most sounds come twice or more in its test. Sources: MNIST-DVS (Serrano-Gotarredona and
    Linares-Barranco 2015) and N-TIDIGITS18 (Anumula et al. 2018), see ``sources``.
    """

    class Config(ComponentConfig):
        """Settings of ``mnistdvs-ntidigits``."""

        root: str | None = Field(
            None, description="folder with MNIST-DVS (grabbed_data0 to 9) and n-tidigits.hdf5, at any depth"
        )
        seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits and of the pairing")
        validation: float = Field(
            0.1, gt=0, lt=1, description="share of training recordings and speakers for validation"
        )
        train_per_class: int = Field(
            500, ge=2, le=10_000, description="pairs of each digit for training and validation"
        )
        test_per_class: int = Field(500, ge=1, le=10_000, description="pairs of each digit for the test")
        scale: Literal[4, 8, 16] = Field(4, description="scale of the digits in MNIST-DVS")
        window: int | None = Field(
            None,
            ge=4,
            le=aedat.SIDE,
            description="side of the crop of the sensor in pixels; none: 40, 72 or 128, by scale",
        )
        bins: Bins = Field(
            "time", description="frames of equal duration (time) or with equal numbers of events (count)"
        )
        values: Literal["count", "binary"] = Field(
            "count", description="count: number of events per point and step; binary: 1 if there are any"
        )
        shift: int = Field(
            0, ge=0, le=64, description="largest shift of a training picture in pixels; S-CMRL's code has 4"
        )

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"model": {"steps": 16, "image_size": 28}}
    classes = DIGITS
    channels: Mapping[str, int] = {"audio": 1, "visual": 2}
    group_columns = ("speaker",)
    spectrograms = False

    def __init__(self, config: Config, model: ModelConfig) -> None:
        self.config = config
        self.steps, self.image_size = model.steps, model.image_size
        self.window = config.window or mnist_dvs.WINDOWS[config.scale]

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Each digit seen five times and heard from six speakers, a few hundred events each."""
        write_mnist_dvs(folder / "MNIST_DVS", 5)
        write_ntidigits(folder / NTIDIGITS)
        return {"root": str(folder), "train_per_class": 3, "test_per_class": 2, "validation": 0.3}

    def listing(self) -> Listing:
        """The samples of each split, digit after digit, and the files that are in none."""
        root = root_folder(
            self.config.root,
            needs=f"data set 'mnistdvs-ntidigits' needs copies of MNIST-DVS and N-TIDIGITS: set dataset.root to "
            f"the folder that holds grabbed_data0 to grabbed_data9 and {NTIDIGITS}",
            holds="with MNIST-DVS and N-TIDIGITS",
        )
        bad: list[BadFileError] = []
        files = files_below(root, frozenset({".aedat", ".hdf5"}), bad)
        rng = np.random.default_rng(self.config.seed)
        seen = self._seen(root, files, bad, rng)
        heard = self._heard(root, files, bad, rng)
        splits: dict[str, list[Sample]] = {}
        for name, recordings in heard.items():
            digits = np.array([recording.digit for recording in recordings], dtype=int)
            cycle = ClassCycle(digits, np.arange(len(recordings)), rng)
            splits[name] = []
            for digit, paths in enumerate(seen[name]):
                partners = cycle.take(digit, len(paths))
                if not partners:
                    raise UserError(
                        f"{root}: {NTIDIGITS} has no recording of {digit} for the {name} split; use the complete "
                        f"file, or change dataset.validation or dataset.seed{first_bad(bad)}"
                    )
                for path, index in zip(paths, partners, strict=True):
                    sound, speaker = recordings[index].path, recordings[index].speaker
                    splits[name].append(Sample(sound, path, digit, f"{path.stem}/{sound.name}", (speaker,)))
        return Listing(splits, bad)

    def _seen(
        self, root: Path, files: list[Path], bad: list[BadFileError], rng: np.random.Generator
    ) -> dict[str, list[list[Path]]]:
        """MNIST-DVS's files of each split and digit; bad ones are missing from the training split."""
        train, test = self.config.train_per_class, self.config.test_per_class
        validation = min(max(round(self.config.validation * train), 1), train - 1)
        splits: dict[str, list[list[Path]]] = {"train": [], "validation": [], "test": []}
        for digit, paths in enumerate(mnist_dvs.find_recordings(files, self.config.scale, bad)):
            if train + test - len(paths) > min(len(bad), train - validation - 1):
                raise UserError(
                    f"{root}: {len(paths)} files mnist_{digit}_scale{self.config.scale:02}_*.aedat, where {train} "
                    f"to train and {test} to test on are required; add some, or lower dataset.train_per_class and "
                    f"dataset.test_per_class{first_bad(bad)}"
                )
            shuffled = [paths[index] for index in rng.permutation(len(paths))]
            splits["test"].append(shuffled[:test])
            splits["validation"].append(shuffled[test : test + validation])
            splits["train"].append(shuffled[test + validation : test + train])
        return splits

    def _heard(
        self, root: Path, files: list[Path], bad: list[BadFileError], rng: np.random.Generator
    ) -> dict[str, list[ntidigits.Recording]]:
        """N-TIDIGITS's recordings of each split."""
        copies = [path for path in files if path.name.lower() == NTIDIGITS]
        if len(copies) != 1:
            which = f"{len(copies)} copies, {copies[0]} and {copies[1]}" if copies else "none in any folder"
            raise UserError(f"{root}: one {NTIDIGITS} is expected and there are {which}; put one there")
        recordings = ntidigits.find_recordings(copies[0], bad)
        train = recordings["train"]
        labels = np.array([recording.digit for recording in train], dtype=int)
        speakers = np.array([recording.speaker for recording in train])
        rest, validation = grouped(labels, speakers, self.config.validation, rng)
        return {
            "train": [train[index] for index in rest],
            "validation": [train[index] for index in validation],
            "test": recordings["test"],
        }

    def transform_key(self) -> Mapping[str, Any]:
        """The settings and sizes that the stored arrays depend on."""
        settings = self.config.model_dump(include={"bins", "values"})
        sizes = {"window": self.window, "steps": self.steps, "image_size": self.image_size}
        return {"version": VERSION, **settings, **sizes}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, list[np.ndarray]]:
        """Rows to ``audio [T, 1, S, S]`` and ``visual [T, 2, S, S]``, float32.

        A modality that is absent from all rows is left out. Raises ``BadFileError`` for a recording that cannot
        be decoded, or that has no events in the window.
        """
        decoders = {"audio": self._sound, "visual": self._picture}
        return {
            name: [decoders[name](*source_of(cell, name)) for cell in rows[name]]
            for name in MODALITIES
            if any(cell is not None for cell in rows.get(name) or [])
        }

    def _sound(self, source: bytes | Path, name: str) -> np.ndarray:
        return self._frames(ntidigits.decode(source, name), (1, ntidigits.SIDE, ntidigits.SIDE))

    def _picture(self, source: bytes | Path, name: str) -> np.ndarray:
        events = aedat.decode(source, name).middle(aedat.SIDE, self.window)
        if len(events.time) == 0:
            raise BadFileError(
                name,
                f"has no events in the middle {self.window}x{self.window} pixels; set dataset.window to more, or "
                f"leave it out",
            )
        return self._frames(events, (2, self.window, self.window))

    def _frames(self, events: Events, shape: tuple[int, int, int]) -> np.ndarray:
        frames = to_frames(events, self.steps, self.config.bins, shape)
        if self.config.values == "binary":
            frames = np.minimum(frames, 1.0)
        return resize(frames, self.image_size)

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        """The stored arrays of a sample; in training the picture moved by up to ``shift`` pixels each way."""
        import torch

        inputs = dict(stored)
        margin, size = self.config.shift, self.image_size
        if training and margin and "visual" in inputs:
            row, column = torch.randint(2 * margin + 1, (2,)).tolist()
            wide = np.pad(inputs["visual"], ((0, 0), (0, 0), (margin, margin), (margin, margin)))
            inputs["visual"] = wide[..., row : row + size, column : column + size]
        return inputs

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row from the user's files: ``n-tidigits.hdf5#test/<name>`` and an AEDAT file of a DVS128.

        Raises ``UserError`` for files that are missing or hold nothing.
        """
        row: dict[str, Any] = {"audio": None, "visual": None}
        if audio is not None:
            ntidigits.decode(Path(audio), audio)
            row["audio"] = {"bytes": None, "path": str(audio)}
        if visual is not None:
            row["visual"] = {"bytes": read_bytes(Path(visual), visual), "path": str(visual)}
        return row
