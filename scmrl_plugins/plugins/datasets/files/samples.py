"""From files to samples: pairs of audio and visual files, as Hugging Face splits."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.files.window import Window

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Sample:
    """A sound and the picture or video that belongs to it, the index of their class, a unique id, its groups.

    Both paths are those of one video where that has both. ``window``: the part of the files that is used.
    """

    audio: Path
    visual: Path
    label: int
    id: str
    groups: tuple[str, ...] = ()
    window: Window | None = None

    def cell(self, path: Path) -> dict[str, str | None]:
        """The cell of a row that names one of the files."""
        return {"bytes": None, "path": self.window.of(path) if self.window else str(path)}


@dataclass
class Listing:
    """The content of a data set's folders: samples by split, and files without a split, with the reason.

    ``lacking``: the message where a split has no samples.
    """

    splits: dict[str, list[Sample]] = field(default_factory=dict)
    bad: list[BadFileError] = field(default_factory=list)
    lacking: str | None = None


def pair_by_stem(
    sounds: Iterable[Path],
    pictures: Iterable[Path],
    bad: list[BadFileError],
    folders: tuple[object, object],
    correct: Callable[[str], str] = str,
    *,
    videos: bool = False,
) -> list[tuple[str, Path, Path]]:
    """``(stem, sound, picture)`` of every stem that has one of each, in the order of the stems.

    With ``videos``, a video without a sound file of its stem is the sound, too. Other files without their partner,
    and all of a stem that several files of one kind share, go to ``bad``. ``folders``: where the sounds and the
    pictures are expected, for the message. Stems are compared in Unicode's composed form, which is how people read
    them, and as ``correct`` corrects them.
    """
    by_stem: dict[str, tuple[list[Path], list[Path]]] = {}
    for kind, paths in enumerate((sounds, pictures)):
        for path in paths:
            by_stem.setdefault(correct(unicodedata.normalize("NFC", path.stem)), ([], []))[kind].append(path)
    pairs = []
    for stem in sorted(by_stem):
        heard, seen = by_stem[stem]
        double = next((paths for paths in (heard, seen) if len(paths) > 1), None)
        if double:
            bad.append(BadFileError(double[1], f"{double[0]} has the same stem; rename or remove one"))
        elif not seen:
            bad.append(
                BadFileError(heard[0], f"no picture or video {stem!r} in {folders[1]}; add it or remove this one")
            )
        elif not heard and videos and seen[0].suffix.lower() in VIDEOS:
            pairs.append((stem, seen[0], seen[0]))
        elif not heard:
            bad.append(BadFileError(seen[0], f"no sound file {stem!r} in {folders[0]}; add it or remove this one"))
        else:
            pairs.append((stem, heard[0], seen[0]))
    return pairs


def first_bad(bad: Sequence[BadFileError]) -> str:
    """The end of a message if bad files may be the reason."""
    return f"; {len(bad)} files are bad, the first is {bad[0]}" if bad else ""


def checked_listing(root: Path, splits: dict[str, list[Sample]], bad: list[BadFileError], total: str) -> Listing:
    """The listing of a folder; it is ``lacking`` if none of a ``total`` (``9 clips``) are left for a split."""
    listing = Listing(splits, bad)
    if empty := [name for name, part in splits.items() if not part]:
        listing.lacking = (
            f"{root}: none of {total} are left for the {empty[0]} split; change dataset.split or what belongs to "
            f"it{first_bad(bad)}"
        )
    return listing


def to_rows(
    splits: Mapping[str, Sequence[Sample]], classes: Sequence[str], group_columns: Sequence[str] = ()
) -> datasets.DatasetDict:
    """Samples as Hugging Face splits with ``audio``, ``visual``, ``label``, ``id`` and groups; they name files."""
    import datasets

    return datasets.DatasetDict(
        {
            name: table(
                [sample.cell(sample.audio) for sample in samples],
                [sample.cell(sample.visual) for sample in samples],
                [sample.label for sample in samples],
                [sample.id for sample in samples],
                classes,
                name,
                groups={
                    column: [sample.groups[position] for sample in samples]
                    for position, column in enumerate(group_columns)
                },
            )
            for name, samples in splits.items()
        }
    )


def table(
    audio: Sequence[Mapping[str, object]],
    visual: Sequence[Mapping[str, object]],
    labels: Sequence[int],
    ids: Sequence[str],
    classes: Sequence[str],
    split: str,
    fingerprint: str | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> datasets.Dataset:
    """A split in memory. ``fingerprint``: of the content, where cells hold bytes; paths speak for themselves.

    ``groups``: further columns of text, see ``Dataset.group_columns``.
    """
    import datasets
    import pyarrow

    features = datasets.Features(
        {
            "audio": datasets.Audio(decode=False),
            "visual": datasets.Image(decode=False),
            "label": datasets.ClassLabel(names=list(classes)),
            "id": datasets.Value("string"),
            **dict.fromkeys(groups or {}, datasets.Value("string")),
        }
    )
    # Built as an Arrow table, because datasets' encoder of Audio needs torchcodec even where nothing is decoded.
    columns = {
        "audio": list(audio),
        "visual": list(visual),
        "label": list(labels),
        "id": list(ids),
        **(groups or {}),
    }
    return datasets.Dataset(
        pyarrow.table(columns, schema=features.arrow_schema),
        info=datasets.DatasetInfo(features=features),
        split=datasets.Split(split),
        fingerprint=fingerprint or "paths",
    )
