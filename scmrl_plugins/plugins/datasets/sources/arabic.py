"""The digits of the Arabic Speech Commands Dataset: ``dataset/<word>/<speaker>_NO_<take>.wav``, 16 kHz."""

from __future__ import annotations

import re
from pathlib import Path

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.tables import read_table
from scmrl_plugins.plugins.datasets.sources.spoken import (
    Recording,
    SpokenSource,
    folder_of,
    found,
    refuse_missing,
    wav_files,
)
from scmrl_plugins.plugins.datasets.speech.voices import WORDS
from scmrl_plugins.registry import UserError

FOLDERS = (".", "arabic-digits", "arabic-speech-commands-dataset")
LISTS = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
_NAME = re.compile(r"([0-9]{8})_NO_([0-9]{2})")


class ArabicDigits(SpokenSource):
    """Ghandoura, Hjabo and Al Dakkak 2021, CC BY 4.0: 3,000 recordings of digits by 30 speakers.

    The published lists (``train.csv``, ``val.csv``, ``test.csv``) keep speakers apart: 18 / 6 / 6.
    """

    title = "Arabic Speech Commands"
    rate = 16_000
    lists = tuple(LISTS.values())

    def find(self, root: Path) -> tuple[list[Recording], list[BadFileError]]:
        """Every recording by digit and name; bad: other names, and files of the lists that are missing."""
        folder = folder_of(root, FOLDERS, f"dataset/{WORDS[0]}", self.title).parent
        bad: list[BadFileError] = []
        listed = _lists(folder.parent, bad)
        recordings = []
        for digit, word in enumerate(WORDS):
            for path in wav_files(folder / word, bad):
                match = _NAME.fullmatch(path.stem)
                if match is None:
                    bad.append(
                        BadFileError(path, "not named speaker_NO_take.wav, such as 00000014_NO_01.wav; rename it")
                    )
                    continue
                split = listed.pop(f"dataset/{word}/{path.name}", None)
                recordings.append(Recording(path, digit, match[1], f"{word}_{path.stem}", split))
        refuse_missing(listed, folder.parent, LISTS, bad)
        return found(recordings, bad, folder, self.title)


def _lists(folder: Path, bad: list[BadFileError]) -> dict[str, str]:
    """The published split of each file of a digit; a list that is not there has no files."""
    splits = {}
    for split, name in LISTS.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            rows = [(row.text("file"), row.text("class")) for row in read_table(path, ("file", "class"), (), bad)]
        except UserError as error:
            reason = str(error).removeprefix(f"{path}: ")
            bad.append(BadFileError(path, f"not a table with file and class ({reason}); copy it again"))
            continue
        splits.update({file: split for file, word in rows if word in WORDS})
    return splits
