"""AudioMNIST in its own layout: ``data/<speaker>/<digit>_<speaker>_<take>.wav``, 48 kHz."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import folders_in
from scmrl_plugins.plugins.datasets.sources.spoken import (
    FOLDS,
    Recording,
    SpokenSource,
    divided,
    folder_of,
    found,
    wav_files,
)

FOLDERS = (".", "AudioMNIST", "audiomnist")
_NAME = re.compile(r"([0-9])_([0-9]{2})_([0-9]+)")

# The authors' test speakers of their five folds for digits (audiomnist/train/splits.py in soerenab/AudioMNIST).
TEST_SPEAKERS = (
    (5, 13, 18, 22, 26, 32, 33, 42, 45, 51, 52, 60),
    (1, 6, 7, 16, 19, 23, 28, 34, 35, 46, 53, 56),
    (2, 8, 9, 17, 24, 29, 36, 37, 39, 48, 54, 57),
    (3, 10, 14, 20, 25, 30, 38, 40, 43, 49, 55, 58),
    (4, 11, 12, 15, 21, 27, 31, 41, 44, 47, 50, 59),
)


class AudioMNIST(SpokenSource):
    """Becker et al. 2018, MIT: 30,000 recordings of 60 speakers, 50 of each digit.

    Features are computed at 16 kHz, as speech has little above 8 kHz.
    """

    title = "AudioMNIST"
    rate = 16_000
    published_folds = FOLDS

    def find(self, root: Path) -> tuple[list[Recording], list[BadFileError]]:
        """Every recording by digit, speaker and take; bad: other names, and files in another speaker's folder."""
        folder = folder_of(root, FOLDERS, "data", self.title)
        bad: list[BadFileError] = []
        numbered = []
        for speaker in folders_in(folder, bad):
            for path in wav_files(speaker, bad):
                match = _NAME.fullmatch(path.stem)
                if match is None or match[2] != speaker.name:
                    bad.append(
                        BadFileError(
                            path,
                            f"not named digit_speaker_take.wav with the speaker of its folder, such as "
                            f"7_{speaker.name}_32.wav; rename or move it",
                        )
                    )
                    continue
                numbered.append((int(match[1]), match[2], int(match[3]), path))
        recordings = [Recording(path, digit, speaker, path.stem) for digit, speaker, _, path in sorted(numbered)]
        return found(recordings, bad, folder, self.title)

    def published(
        self, recordings: Sequence[Recording], fold: int, held: int, rng: np.random.Generator
    ) -> dict[str, list[Recording]]:
        """The authors' fold for digits: 36 / 12 / 12 speakers; the validation is the test of the fold before."""
        test, validation = TEST_SPEAKERS[fold], TEST_SPEAKERS[fold - 1]

        def split(speaker: str) -> str:
            return "test" if int(speaker) in test else "validation" if int(speaker) in validation else "train"

        return divided(recordings, split)
