"""RAVDESS: actors who speak or sing two sentences in eight emotions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.bases.files import FileRecordings, PhotographsConfig
from scmrl_plugins.plugins.datasets.files.folders import SOUNDS, VIDEOS, files_below
from scmrl_plugins.plugins.datasets.files.samples import Listing, Sample, checked_listing, first_bad
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.miniatures.ravdess import write_ravdess
from scmrl_plugins.registry import UserError

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CHANNELS = {"speech": "01", "song": "02"}
PARTS = ("modality", "vocal channel", "emotion", "intensity", "statement", "repetition", "actor")
"""What the parts of a name tell, in their order."""
HIGHEST = (3, 2, 8, 2, 2, 2, 24)
"""The last number of each; all count from 01."""
SILENT_ACTOR = "18"
"""Who sang no song."""


class Ravdess(FileRecordings):
    """RAVDESS (Livingstone and Russo 2018, CC BY-NC-SA 4.0): 24 actors, 8 emotions of speech and 6 of song.

    ``Actor_NN/MM-VC-EE-II-SS-RR-AA.mp4`` in any folder of the root: modality (01 picture and sound, 02 picture,
    03 sound), vocal channel (01 speech, 02 song), emotion, intensity, statement, repetition and actor. Only files
    of modality 01 are samples: 02 and 03 are the same take without sound or picture. There is no official split.
    Papers that divide clips at random test actors whose other clips they train on; by default no actor is in two
    splits.
    """

    class Config(PhotographsConfig):
        """Settings of ``ravdess``."""

        root: str | None = Field(None, description="folder with Actor_01 to Actor_24")
        channel: Literal["speech", "song", "both"] = Field(
            "speech", description="speech (1,440 takes), song (1,012 takes, without disgust and surprise) or both"
        )
        split: Literal["by-actor", "random"] = Field(
            "by-actor", description="by-actor: no actor in two splits; random (published): clips at random"
        )
        test: float = Field(
            0.2, gt=0, lt=1, description="share of the clips for the test; actors are not divided (by-actor)"
        )

    classes = EMOTIONS
    group_columns = ("actor",)

    @classmethod
    def native_rate(cls, config: Ravdess.Config) -> int:
        """48,000 Hz, as distributed."""
        return 48_000

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Four actors, each with a take of every emotion in all three modalities."""
        write_ravdess(folder)
        return {"root": str(folder), "validation": 0.3}

    def listing(self) -> Listing:
        """The samples of each split; ``UserError`` if there is no file of modality 01, or an empty split."""
        root = self.root()
        bad: list[BadFileError] = []
        samples = self._samples(root, bad)
        rest, test = self._divide(samples, self.config.test, draw=0)
        train, validation = self._divide(rest, self.config.validation, draw=1)
        splits = {"train": train, "validation": validation, "test": test}
        return checked_listing(root, splits, bad, f"{len(samples)} takes")

    def _samples(self, root: Path, bad: list[BadFileError]) -> list[Sample]:
        takes: dict[str, Path] = {}
        other: dict[str, Path] = {}
        for path in files_below(root, SOUNDS | VIDEOS, bad):
            if reason := _misnamed(path):
                bad.append(BadFileError(path, reason))
            elif self.config.channel != "both" and path.stem[3:5] != CHANNELS[self.config.channel]:
                continue
            elif path.stem[:2] != "01":
                other.setdefault(path.stem[3:], path)
            elif path.suffix.lower() in SOUNDS:
                bad.append(BadFileError(path, "is named as a take with picture, but is a sound; copy it again"))
            elif (first := takes.setdefault(path.stem[3:], path)) != path:
                bad.append(BadFileError(path, f"{first} is the same take; remove one of the two"))
        if not takes:
            raise UserError(
                f"{root}: holds no video 01-..., with picture and sound; copy Video_Speech_Actor_01.zip and so on "
                f"there, or set dataset.root or dataset.channel{first_bad(bad)}"
            )
        bad += [
            BadFileError(
                path, f"has only one modality of its take; copy 01-{take}.mp4, which has both, or remove it"
            )
            for take, path in other.items()
            if take not in takes
        ]
        return [
            Sample(path, path, int(take[3:5]) - 1, f"01-{take}", (take[-2:],))
            for take, path in sorted(takes.items())
        ]

    def _divide(self, samples: list[Sample], share: float, draw: int) -> tuple[list[Sample], list[Sample]]:
        """All but a share of every class, and that share; by actor, no actor is in both."""
        rng = np.random.default_rng([self.config.seed, draw])
        labels = np.array([sample.label for sample in samples], dtype=int)
        by_actor = self.config.split == "by-actor"
        groups = np.array([sample.groups[0] if by_actor else sample.id for sample in samples], dtype=str)
        rest, taken = grouped(labels, groups, share, rng)
        return [samples[index] for index in rest], [samples[index] for index in taken]


def _misnamed(path: Path) -> str | None:
    """What is wrong with the name of a file, with the remedy; ``None`` if nothing is."""
    if not re.fullmatch(r"\d\d(-\d\d){6}", path.stem):
        return "is not named as a take of RAVDESS, as 01-01-03-02-01-01-12; rename or remove it"
    numbers = path.stem.split("-")
    for part, number, highest in zip(PARTS, numbers, HIGHEST, strict=True):
        if not 1 <= int(number) <= highest:
            return f"{part} {number} is not one of 01 to {highest:02}; rename it"
    _, channel, emotion, intensity, _, _, actor = numbers
    if emotion == "01" and intensity == "02":
        return "names a strong intensity of neutral, which has only 01; rename it"
    if channel == CHANNELS["song"] and int(emotion) > 6:
        return f"names a song of {EMOTIONS[int(emotion) - 1]}, which only speech has; rename it"
    if channel == CHANNELS["song"] and actor == SILENT_ACTOR:
        return f"names a song of actor {actor}, who sang none; rename it"
    folder = re.search(r"Actor_(\d\d)$", path.parent.name)
    if folder and folder[1] != actor:
        return f"its name says actor {actor}, its folder {path.parent.name}; move or rename it"
    return None
