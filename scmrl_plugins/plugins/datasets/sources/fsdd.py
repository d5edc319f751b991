"""The Free Spoken Digit Dataset in its own layout: finding, reading and dividing the recordings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import files_in
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

FOLDERS = (".", "fsdd", "free-spoken-digit-dataset")
TEST_INDICES = 5
"""Indices 0 to 4 of every digit and speaker are FSDD's test split."""
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)")


@dataclass(frozen=True)
class Recording:
    """One file: ``{digit}_{speaker}_{index}.wav``."""

    path: Path
    digit: int
    speaker: str
    index: int


def find_recordings(root: Path) -> tuple[list[Recording], list[BadFileError]]:
    """Every recording under ``root``, by digit, speaker and index, and the wav files whose names tell no digit.

    Raises ``UserError`` if there are none.
    """
    candidates = [root / folder / "recordings" for folder in FOLDERS]
    folder = next((candidate for candidate in candidates if candidate.is_dir()), None)
    if folder is None:
        raise UserError(
            f"{root}: no FSDD recordings; looked for the folders {', '.join(map(str, candidates))}; "
            f"set dataset.root to the folder that holds one of them"
        )
    recordings: list[Recording] = []
    bad: list[BadFileError] = []
    for path in files_in(folder, frozenset({".wav"}), bad):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            bad.append(
                BadFileError(path, "not named digit_speaker_index.wav, such as 7_jackson_32.wav; rename it")
            )
            continue
        recordings.append(Recording(path, int(match[1]), match[2], int(match[3])))
    if not recordings:
        raise UserError(f"{folder}: holds no wav files; copy FSDD's recordings into it")
    return sorted(recordings, key=lambda recording: (recording.digit, recording.speaker, recording.index)), bad


def by_index(recordings: list[Recording], held: int, rng: np.random.Generator) -> dict[str, list[Recording]]:
    """FSDD's own split: indices 0 to 4 for test; ``held`` of the others, drawn at random, for validation.

    They are drawn for each digit and speaker. All splits have the same speakers.
    """
    splits: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
    groups: dict[tuple[int, str], list[Recording]] = {}
    for recording in recordings:
        if recording.index < TEST_INDICES:
            splits["test"].append(recording)
        else:
            groups.setdefault((recording.digit, recording.speaker), []).append(recording)
    for group in groups.values():
        drawn = set(rng.permutation(len(group))[:held].tolist())
        for position, recording in enumerate(group):
            splits["validation" if position in drawn else "train"].append(recording)
    return splits


def by_speaker(
    recordings: list[Recording], test: tuple[str, ...], validation: tuple[str, ...]
) -> dict[str, list[Recording]]:
    """The named speakers for test and for validation, all others for training: no speaker is in two.

    Raises ``UserError`` for an unknown speaker.
    """
    speakers = sorted({recording.speaker for recording in recordings})
    for name in (*test, *validation):
        if name not in speakers:
            raise UserError(
                f"{recordings[0].path.parent}: no speaker {name!r}{near(name, speakers)}; there are "
                f"{', '.join(speakers)}; correct dataset.test_speakers or dataset.validation_speakers"
            )
    splits: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
    for recording in recordings:
        split = (
            "test" if recording.speaker in test else "validation" if recording.speaker in validation else "train"
        )
        splits[split].append(recording)
    return splits
