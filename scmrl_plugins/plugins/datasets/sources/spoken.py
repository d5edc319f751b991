"""Collections of spoken digits as distributed: their recordings, and how they are divided among the splits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from scmrl_plugins.core.interfaces import SPLITS, BadFileError
from scmrl_plugins.plugins.datasets.files.folders import files_in, is_folder
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

FOLDS = 5
WAV = frozenset({".wav"})


@dataclass(frozen=True)
class Recording:
    """One file: the digit said, the speaker, an id that is unique in the collection, and its published split."""

    path: Path
    digit: int
    speaker: str
    id: str
    published: str | None = None


class SpokenSource:
    """A collection of spoken digits. A subclass finds its files and knows its published split."""

    title: ClassVar[str]
    rate: ClassVar[int]
    """Sample rate in Hz to compute features at."""
    published_folds: ClassVar[int] = 1
    """How many splits the authors define."""
    lists: ClassVar[Sequence[str]] = ()
    """The files that define the published split, where it is not in the names of the recordings."""

    def find(self, root: Path) -> tuple[list[Recording], list[BadFileError]]:
        """Every recording of a digit under ``root`` in a fixed order, and the files that cannot be used.

        Raises ``UserError`` if there are no recordings.
        """
        raise NotImplementedError

    def published(
        self, recordings: Sequence[Recording], fold: int, held: int, rng: np.random.Generator
    ) -> dict[str, list[Recording]]:
        """The authors' split, by default from ``Recording.published``.

        ``fold``: which of their ``published_folds``; ``held``: recordings for validation where they define none.
        Raises ``UserError`` where the lists that define it are missing.
        """
        splits: dict[str, list[Recording]] = {name: [] for name in SPLITS}
        for recording in recordings:
            if recording.published:
                splits[recording.published].append(recording)
        if not any(splits.values()):
            raise UserError(
                f"{recordings[0].path.parent.parent}: the published split needs {', '.join(self.lists)} as "
                f"distributed; add them or set dataset.split to by-speaker"
            )
        return splits

    def unlisted(self, recordings: Sequence[Recording]) -> list[BadFileError]:
        """The recordings that the published split leaves out as its lists do not name them."""
        if not self.lists:
            return []
        reason = f"is in none of {', '.join(self.lists)}; remove it or set dataset.split to by-speaker"
        return [BadFileError(each.path, reason) for each in recordings if each.published is None]

    def groups(self, speakers: Collection[str]) -> dict[str, int]:
        """The group 0 to 4 of each speaker for ``by_fold``: in alphabetical order, dealt in turn.

        It depends neither on a seed nor on the number of recordings.
        """
        return dealt(speakers)


def dealt(names: Collection[str]) -> dict[str, int]:
    """The i-th of the sorted names in group ``i mod 5``."""
    return {name: index % FOLDS for index, name in enumerate(sorted(set(names)))}


def split_of(group: int, fold: int) -> str:
    """Fold k: group k is the test, group k + 1 (modulo 5) the validation, the other three are for training."""
    return {0: "test", 1: "validation"}.get((group - fold) % FOLDS, "train")


def by_fold(recordings: Sequence[Recording], groups: Mapping[str, int], fold: int) -> dict[str, list[Recording]]:
    """Recordings by split, no speaker in two, each speaker in the test of exactly one fold; see ``split_of``."""
    return divided(recordings, lambda speaker: split_of(groups[speaker], fold))


def by_speaker(
    recordings: Sequence[Recording], test: Collection[str], validation: Collection[str]
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
    return divided(
        recordings,
        lambda speaker: "test" if speaker in test else "validation" if speaker in validation else "train",
    )


def divided(recordings: Sequence[Recording], split: Callable[[str], str]) -> dict[str, list[Recording]]:
    """Recordings by split, in their order; ``split`` gives that of a speaker."""
    splits: dict[str, list[Recording]] = {name: [] for name in SPLITS}
    for recording in recordings:
        splits[split(recording.speaker)].append(recording)
    return splits


def folder_of(root: Path, folders: Sequence[str], inner: str, title: str) -> Path:
    """The first of ``root / folders`` that has ``inner``. Raises ``UserError`` that says what was looked for."""
    candidates = [root / folder / inner for folder in folders]
    for candidate in candidates:
        if is_folder(candidate):
            return candidate
    raise UserError(
        f"{root}: no {title} recordings; looked for the folders {', '.join(map(str, candidates))}; "
        f"set dataset.root to the folder that holds one of them"
    )


def wav_files(folder: Path, bad: list[BadFileError]) -> list[Path]:
    """The wav files of a folder, sorted; what cannot be used goes to ``bad``, and so does a folder that cannot."""
    try:
        return files_in(folder, WAV, bad)
    except BadFileError as error:
        bad.append(error)
        return []


def refuse_missing(
    listed: Mapping[str, str], folder: Path, lists: Mapping[str, str], bad: list[BadFileError]
) -> None:
    """Add the files that a published list names and that are not there to ``bad``, unless they are bad already.

    ``listed``: the split of each remaining file, by its path in the ``folder``; ``lists``: the list of each split.
    """
    refused = {error.path for error in bad}
    for name, split in listed.items():
        path = folder / name
        if str(path) not in refused:
            bad.append(BadFileError(path, f"is in {lists[split]} and is missing; copy it again"))


def found(
    recordings: list[Recording], bad: list[BadFileError], folder: Path, title: str
) -> tuple[list[Recording], list[BadFileError]]:
    """What ``SpokenSource.find`` returns. Raises ``UserError`` where no recording was found."""
    if not recordings:
        first = f"; {len(bad)} files are bad, the first is {bad[0]}" if bad else ""
        raise UserError(f"{folder}: holds no wav files; copy {title}'s recordings into it{first}")
    return recordings, bad
