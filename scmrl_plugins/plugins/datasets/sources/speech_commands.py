"""The digits of Google's Speech Commands: ``<word>/<speaker>_nohash_<take>.wav``, 16 kHz."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from pathlib import Path

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.sources.spoken import (
    FOLDS,
    Recording,
    SpokenSource,
    folder_of,
    found,
    refuse_missing,
    wav_files,
)
from scmrl_plugins.plugins.datasets.speech.voices import WORDS

FOLDERS = (
    ".",
    "speech-commands",
    "speech_commands",
    "speech_commands_v0.02",
    "SpeechCommands/speech_commands_v0.02",
)
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""Lists of ``word/file``; what is in neither is for training."""
_NAME = re.compile(r"([0-9a-f]{8})_nohash_([0-9]+)")
_BUCKETS = 2**27


class SpeechCommands(SpokenSource):
    """Warden 2018 (arXiv 1804.03209), CC BY 4.0: about 38,900 recordings of digits by some 2,600 speakers."""

    title = "Speech Commands"
    rate = 16_000
    lists = tuple(LISTS.values())

    def find(self, root: Path) -> tuple[list[Recording], list[BadFileError]]:
        """Every recording by digit and name; bad: other names, and files of the lists that are missing."""
        folder = folder_of(root, FOLDERS, WORDS[0], self.title).parent
        bad: list[BadFileError] = []
        listed = _lists(folder, bad)
        recordings = []
        for digit, word in enumerate(WORDS):
            for path in wav_files(folder / word, bad):
                match = _NAME.fullmatch(path.stem)
                if match is None:
                    bad.append(
                        BadFileError(
                            path, "not named speaker_nohash_take.wav, such as 0a7c2a8d_nohash_0.wav; rename it"
                        )
                    )
                    continue
                split = listed.pop(f"{word}/{path.name}", "train") if listed is not None else None
                recordings.append(Recording(path, digit, match[1], f"{word}_{path.stem}", split))
        refuse_missing(listed or {}, folder, LISTS, bad)
        return found(recordings, bad, folder, self.title)

    def groups(self, speakers: Collection[str]) -> dict[str, int]:
        """The fifth of ``share`` that a speaker falls into, whichever other speakers there are."""
        return {speaker: min(int(share(speaker) * FOLDS), FOLDS - 1) for speaker in speakers}


def share(speaker: str) -> float:
    """``(SHA1(speaker) mod 2^27) / (2^27 - 1)``: the published lists have below 0.1, and 0.1 to 0.2 for test."""
    return int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % _BUCKETS / (_BUCKETS - 1)


def _lists(folder: Path, bad: list[BadFileError]) -> dict[str, str] | None:
    """The published split of each file of a digit that is not for training; none unless both lists are there."""
    splits = {}
    for split, name in LISTS.items():
        path = folder / name
        if not path.is_file():
            return None
        try:
            lines = path.read_text(encoding="utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            bad.append(BadFileError(path, f"not a list of files ({error}); copy it again"))
            return None
        splits.update({line: split for line in lines if line.partition("/")[0] in WORDS})
    return splits
