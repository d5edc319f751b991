"""Recorded digits (FSDD) paired with handwritten ones (MNIST): both real, both in their own layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.bases.digits import Digits, DigitsConfig, Row, to_dataset
from scmrl_plugins.plugins.datasets.files.folders import root_folder
from scmrl_plugins.plugins.datasets.files.splits import ClassCycle
from scmrl_plugins.plugins.datasets.media import images as pictures
from scmrl_plugins.plugins.datasets.miniatures.digits import write_mnist, write_recordings
from scmrl_plugins.plugins.datasets.sources.fsdd import Recording, by_index, by_speaker, find_recordings
from scmrl_plugins.plugins.datasets.sources.mnist import SIZE, load_mnist
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets


class SpokenDigits(Digits):
    """The Free Spoken Digit Dataset with same-label MNIST images, from copies under ``dataset.root``.

    No recording and no image is in two splits; with ``split = "by-speaker"`` no speaker is either. Sources:
    FSDD (Jackson et al., CC BY-SA 4.0), MNIST (LeCun et al.).
    """

    class Config(DigitsConfig):
        """Settings of ``spoken-digits``."""

        root: str | None = Field(
            None,
            description="folder with FSDD (recordings/ or fsdd/) and MNIST (idx files or mnist/)",
        )
        split: Literal["fsdd", "by-speaker"] = Field(
            "fsdd",
            description="fsdd: recordings 0 to 4 are for the test; by-speaker: no speaker in two splits",
        )
        test_speakers: tuple[str, ...] = Field(
            ("theo", "yweweler"),
            strict=False,
            min_length=1,
            description="speakers of the test split",
        )
        validation_speakers: tuple[str, ...] = Field(
            ("nicolas",), strict=False, min_length=1, description="speakers of the validation split"
        )
        validation_indices: int = Field(
            5, ge=1, le=44, description="recordings per digit and speaker for validation (fsdd)"
        )
        train_pairs: int = Field(2, ge=1, le=100, description="images per training recording")
        test_pairs: int = Field(5, ge=1, le=100, description="images per validation and test recording")

        @model_validator(mode="after")
        def _speakers_differ(self) -> SpokenDigits.Config:
            both = set(self.test_speakers) & set(self.validation_speakers)
            if both:
                raise ValueError(f"{', '.join(sorted(both))} in both test_speakers and validation_speakers")
            return self

    native_size: ClassVar[int] = SIZE

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """FSDD with tones and MNIST with noise, a few of each digit."""
        write_recordings(folder / "recordings")
        write_mnist(folder)
        return {"root": str(folder), "validation_indices": 1, "train_pairs": 1, "test_pairs": 1}

    def splits(self) -> datasets.DatasetDict:
        """``train``, ``validation`` and ``test``; with all of FSDD 4,800, 1,500 and 1,500 rows.

        Raises ``UserError`` without ``dataset.root``, where recordings are missing, where MNIST's files are
        missing or damaged, and for an empty split.
        """
        import datasets

        root = self._root()
        rng = np.random.default_rng(self.config.seed)
        recordings, _ = find_recordings(root)
        images, labels, shares = load_mnist(root, rng)
        if self.config.split == "fsdd":
            heard = by_index(recordings, self.config.validation_indices, rng)
        else:
            heard = by_speaker(recordings, self.config.test_speakers, self.config.validation_speakers)
        splits = {}
        for name, group in heard.items():
            if not group:
                raise UserError(
                    f"{recordings[0].path.parent}: no recordings are left for the {name} split; "
                    f"add some, or change dataset.split and what belongs to it"
                )
            cycle = ClassCycle(labels, shares[name], rng)
            pairs = self.config.train_pairs if name == "train" else self.config.test_pairs
            splits[name] = to_dataset(self._rows(group, images, cycle, pairs, name), name)
        return datasets.DatasetDict(splits)

    def bad_files(self) -> list[BadFileError]:
        """Recordings whose names tell neither digit nor speaker."""
        return find_recordings(self._root())[1]

    def _root(self) -> Path:
        return root_folder(
            self.config.root,
            needs="data set 'spoken-digits' needs copies of FSDD and MNIST: set dataset.root to the folder that "
            "holds recordings/ (or fsdd/) and mnist/",
            holds="with FSDD and MNIST",
        )

    def _rows(
        self, group: list[Recording], images: np.ndarray, cycle: ClassCycle, pairs: int, name: str
    ) -> Iterator[Row]:
        for recording in group:
            partners = cycle.take(recording.digit, pairs)
            if not partners:
                raise UserError(
                    f"{self.config.root}: MNIST here has no digit {recording.digit} for the {name} split; "
                    f"use its complete test file"
                )
            for index in partners:
                picture = pictures.encode_png(images[index] / 255.0)
                yield Row(recording.path, picture, recording.digit, f"{recording.path.stem}/mnist-{index:05d}")
