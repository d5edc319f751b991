"""Recorded digits paired with handwritten ones (MNIST): both real, both in their own layouts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.bases.digits import Digits, DigitsConfig, Row, to_dataset
from scmrl_plugins.plugins.datasets.bases.tasks import Cue, Partner, Question, with_cue
from scmrl_plugins.plugins.datasets.files.folders import root_folder
from scmrl_plugins.plugins.datasets.files.splits import ClassCycle
from scmrl_plugins.plugins.datasets.media import images as pictures
from scmrl_plugins.plugins.datasets.miniatures.digits import write_fsdd, write_mnist, write_qmnist
from scmrl_plugins.plugins.datasets.sources.arabic import ArabicDigits
from scmrl_plugins.plugins.datasets.sources.audiomnist import AudioMNIST
from scmrl_plugins.plugins.datasets.sources.fsdd import FSDD
from scmrl_plugins.plugins.datasets.sources.mnist import SIZE, Mnist, load_mnist, with_writers
from scmrl_plugins.plugins.datasets.sources.speech_commands import SpeechCommands
from scmrl_plugins.plugins.datasets.sources.spoken import FOLDS, Recording, SpokenSource, by_fold, by_speaker
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

SOURCES: dict[str, type[SpokenSource]] = {
    "fsdd": FSDD,
    "arabic": ArabicDigits,
    "audiomnist": AudioMNIST,
    "speech-commands": SpeechCommands,
}


class SpokenDigits(Digits):
    """Recordings of spoken digits paired with MNIST images, from copies under ``dataset.root``.

    No recording and no image is in two splits; with ``split = "by-speaker"`` no speaker is either, and with
    QMNIST's labels at hand no writer. Sources: FSDD (Jackson et al.), Arabic Speech Commands (Ghandoura et al.
    2021), AudioMNIST (Becker et al. 2018), Speech Commands (Warden 2018); MNIST (LeCun et al.), QMNIST (Yadav and
    Bottou 2019).
    """

    class Config(DigitsConfig):
        """Settings of ``spoken-digits``."""

        root: str | None = Field(
            None,
            description="folder with the recordings (as distributed, or in fsdd/, arabic-digits/, ...), MNIST "
            "(idx files or mnist/) and QMNIST's labels (or qmnist/)",
        )
        speech: Literal["fsdd", "arabic", "audiomnist", "speech-commands"] = Field(
            "fsdd", description="the recordings: FSDD, Arabic Speech Commands, AudioMNIST or Speech Commands"
        )
        split: Literal["published", "fsdd", "by-speaker"] = Field(
            "published",
            description="of the recordings. published: as their authors do, in FSDD recordings 0 to 4 for the "
            "test (also called fsdd); by-speaker: no speaker in two splits",
        )
        fold: int = Field(
            0, ge=0, lt=FOLDS, description="which fifth of the speakers and of the writers is for the test"
        )
        picture_split: Literal["by-writer", "by-picture"] = Field(
            "by-writer",
            description="of the images. by-writer: no writer in two splits, if QMNIST's labels are there",
            json_schema_extra={"before": "by-picture"},
        )
        test_speakers: tuple[str, ...] | None = Field(
            None,
            strict=False,
            min_length=1,
            description="speakers of the test split (by-speaker); none: those of the fold",
        )
        validation_speakers: tuple[str, ...] | None = Field(
            None, strict=False, min_length=1, description="speakers of the validation split, with test_speakers"
        )
        validation_indices: int = Field(
            5, ge=1, le=44, description="recordings per digit and speaker for validation (published, FSDD)"
        )
        train_pairs: int | None = Field(
            None, ge=1, le=100, description="images per training recording; none: 2, or 8 if the task is not same"
        )
        test_pairs: int | None = Field(
            None,
            ge=1,
            le=100,
            description="images per validation and test recording; none: 5, or 2 if the task is not same",
        )

        @model_validator(mode="after")
        def _speakers_differ(self) -> SpokenDigits.Config:
            test, validation = self.test_speakers, self.validation_speakers
            if (test is None) != (validation is None):
                raise ValueError("test_speakers and validation_speakers are given together; give both or none")
            if both := set(test or ()) & set(validation or ()):
                raise ValueError(f"{', '.join(sorted(both))} in both test_speakers and validation_speakers")
            return self

        @model_validator(mode="after")
        def _the_split_exists(self) -> SpokenDigits.Config:
            if self.split == "fsdd" and self.speech != "fsdd":
                raise ValueError(f"split 'fsdd' is not of {self.speech}; use published or by-speaker")
            folds = SOURCES[self.speech].published_folds
            if self.split != "by-speaker" and self.fold >= folds:
                raise ValueError(f"{self.speech} has {folds} published split; for fold use split by-speaker")
            return self

    native_size: ClassVar[int] = SIZE

    def __init__(self, config: Config, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.source = SOURCES[config.speech]()
        self.group_columns = ("speaker", "writer") if config.picture_split == "by-writer" else ("speaker",)

    @classmethod
    def native_rate(cls, config: Config) -> int:
        """The sample rate of the recordings of ``speech``."""
        return SOURCES[config.speech].rate

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """FSDD with tones and MNIST with noise, a few of each digit."""
        write_fsdd(folder)
        write_mnist(folder)
        write_qmnist(folder)
        return {"root": str(folder), "validation_indices": 1, "train_pairs": 1, "test_pairs": 1}

    def splits(self) -> datasets.DatasetDict:
        """``train``, ``validation`` and ``test``; with all of FSDD 4,800, 1,500 and 1,500 rows.

        Raises ``UserError`` without ``dataset.root``, where recordings are missing, where MNIST's files are
        missing or damaged, and for an empty split.
        """
        import datasets

        config = self.config
        root = self._root()
        rng = np.random.default_rng(config.seed)
        recordings, _ = self.source.find(root)
        mnist, shares = self._pictures(root, rng)
        heard = self._heard(recordings, rng)
        splits = {}
        for name, group in heard.items():
            if not group:
                raise UserError(
                    f"{recordings[0].path.parent}: no recordings are left for the {name} split; "
                    f"add some, or change dataset.split and what belongs to it"
                )
            cycle = ClassCycle(mnist.labels, shares[name], rng)
            task, given = self.task, config.train_pairs if name == "train" else config.test_pairs
            pairs = given or (task.train_pairs if name == "train" else task.test_pairs)
            partners = task.partners(np.array([recording.digit for recording in group]), pairs, rng)
            rows = self._rows(group, partners, mnist, cycle, name)
            splits[name] = to_dataset(rows, name, self.classes, self.group_columns)
        return datasets.DatasetDict(splits)

    def bad_files(self) -> list[BadFileError]:
        """Recordings whose names tell no digit or speaker, and those that a published list misses or adds."""
        recordings, bad = self.source.find(self._root())
        return bad if self.config.split == "by-speaker" else bad + self.source.unlisted(recordings)

    def _root(self) -> Path:
        title = self.source.title
        return root_folder(
            self.config.root,
            needs=f"data set 'spoken-digits' needs copies of {title} and MNIST: set dataset.root to the folder "
            f"that holds both",
            holds=f"with {title} and MNIST",
        )

    def _heard(self, recordings: list[Recording], rng: np.random.Generator) -> dict[str, list[Recording]]:
        config = self.config
        if config.split != "by-speaker":
            return self.source.published(recordings, config.fold, config.validation_indices, rng)
        if config.test_speakers:
            return by_speaker(recordings, config.test_speakers, config.validation_speakers)
        return by_fold(recordings, self.source.groups({each.speaker for each in recordings}), config.fold)

    def _pictures(self, root: Path, rng: np.random.Generator) -> tuple[Mnist, dict[str, np.ndarray]]:
        mnist = load_mnist(root)
        if self.config.picture_split == "by-writer":
            known = with_writers(mnist, root)
            if isinstance(known, Mnist):
                return known, known.by_writer(self.config.fold)
            print(
                f"{root}: no {known} of QMNIST, so a writer may be in several splits; put it into "
                f"{root / 'qmnist'} to keep writers apart",
                file=sys.stderr,
            )
        return mnist, mnist.by_picture(rng)

    def _rows(
        self,
        group: Sequence[Recording],
        partners: Sequence[Sequence[Partner]],
        mnist: Mnist,
        cycle: ClassCycle,
        name: str,
    ) -> Iterator[Row]:
        encoded: dict[tuple[int, Cue | None], bytes] = {}
        for recording, drawn in zip(group, partners, strict=True):
            used: set[int] = set()
            for partner in drawn:
                index = self._picture(partner.digit, cycle, name, used)
                question = Question(recording.digit, partner.digit, partner.cue)
                identifier = f"mnist-{index:05d}"
                writer = "unknown" if mnist.writers is None else str(mnist.writers[index])
                key = index, partner.cue
                if key not in encoded:
                    encoded[key] = pictures.encode_png(with_cue(mnist.images[index] / 255.0, partner.cue))
                yield Row(
                    recording.path,
                    encoded[key],
                    self.task.label(question),
                    f"{recording.id}/{identifier}{question.suffix if self.config.task != 'same' else ''}",
                    (recording.speaker, writer)[: len(self.group_columns)],
                )

    def _picture(self, digit: int, cycle: ClassCycle, name: str, used: set[int]) -> int:
        """The next image of the digit, which the recording has not ``used``."""
        drawn = cycle.take(digit, 1)
        if not drawn:
            raise UserError(
                f"{self.config.root}: MNIST here has no digit {digit} for the {name} split; "
                f"use its complete test file"
            )
        if drawn[0] in used:
            raise UserError(
                f"{self.config.root}: MNIST here has too few images of {digit} for the {name} split to give a "
                f"recording {len(used) + 1} different ones; use its complete test file, or lower "
                f"dataset.train_pairs or dataset.test_pairs"
            )
        used.add(drawn[0])
        return drawn[0]
