"""The Free Spoken Digit Dataset in its own layout: ``recordings/{digit}_{speaker}_{index}.wav``, 8 kHz."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import SPLITS, BadFileError
from scmrl_plugins.plugins.datasets.sources.spoken import (
    Recording,
    SpokenSource,
    folder_of,
    found,
    wav_files,
)

FOLDERS = (".", "fsdd", "free-spoken-digit-dataset")
TEST_INDICES = 5
"""Indices 0 to 4 of every digit and speaker are FSDD's test split."""
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)")


class FSDD(SpokenSource):
    """Jackson et al., CC BY-SA 4.0: 3,000 recordings of six speakers."""

    title = "FSDD"
    rate = 8000

    def find(self, root: Path) -> tuple[list[Recording], list[BadFileError]]:
        """Every recording by digit, speaker and index; wav files with other names are bad."""
        folder = folder_of(root, FOLDERS, "recordings", self.title)
        numbered: list[tuple[int, str, int, Path]] = []
        bad: list[BadFileError] = []
        for path in wav_files(folder, bad):
            match = _NAME.fullmatch(path.stem)
            if match is None:
                bad.append(
                    BadFileError(path, "not named digit_speaker_index.wav, such as 7_jackson_32.wav; rename it")
                )
                continue
            numbered.append((int(match[1]), match[2], int(match[3]), path))
        recordings = [
            Recording(path, digit, speaker, path.stem, "test" if index < TEST_INDICES else None)
            for digit, speaker, index, path in sorted(numbered)
        ]
        return found(recordings, bad, folder, self.title)

    def published(
        self, recordings: Sequence[Recording], fold: int, held: int, rng: np.random.Generator
    ) -> dict[str, list[Recording]]:
        """Indices 0 to 4 for test; ``held`` of the others, drawn at random, for validation.

        They are drawn for each digit and speaker. All splits have the same speakers.
        """
        splits: dict[str, list[Recording]] = {name: [] for name in SPLITS}
        groups: dict[tuple[int, str], list[Recording]] = {}
        for recording in recordings:
            if recording.published == "test":
                splits["test"].append(recording)
            else:
                groups.setdefault((recording.digit, recording.speaker), []).append(recording)
        for group in groups.values():
            drawn = set(rng.permutation(len(group))[:held].tolist())
            for position, recording in enumerate(group):
                splits["validation" if position in drawn else "train"].append(recording)
        return splits
