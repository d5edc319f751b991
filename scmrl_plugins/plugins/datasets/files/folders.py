"""From folders to samples: which sound belongs to which picture, and which files belong to nothing."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

SOUNDS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au"})
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
VIDEOS = frozenset({".flv", ".mp4", ".m4v", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class Sample:
    """A sound and a picture or video that belong together, the place of its class, and an id of its own."""

    audio: Path
    visual: Path
    label: int
    id: str


@dataclass
class Listing:
    """What a data set's folders hold: samples by split, and files that are in none, with the reason."""

    splits: dict[str, list[Sample]] = field(default_factory=dict)
    bad: list[BadFileError] = field(default_factory=list)


def files_in(folder: Path, endings: frozenset[str], bad: list[BadFileError]) -> list[Path]:
    """The files of a folder with one of the endings (in lower case), sorted; hidden ones are passed over.

    What has such an ending and is no file, or a name that is no UTF-8 and cannot be stored, goes to ``bad``.
    Raises ``BadFileError`` for a folder that cannot be listed.
    """
    found = []
    for path in _entries(folder, lambda path: path.suffix.lower() in endings, bad):
        if reason := unreadable(path):
            bad.append(BadFileError(path, reason))
        else:
            found.append(path)
    return found


def folders_in(folder: Path, bad: list[BadFileError]) -> list[Path]:
    """The folders in a folder, sorted, as ``files_in`` finds files."""
    return _entries(folder, Path.is_dir, bad)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; no, where the path is none that can be looked up."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def at_home(path: str) -> Path:
    """A path as users write it, where ``~`` is their home, or a name as any other where it is nobody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def unreadable(path: Path) -> str | None:
    """Why a path names no file, with the remedy; none where it does. A pipe would be waited for without end."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return None
    except (OSError, ValueError) as error:  # a ValueError is a name with a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        return f"cannot be read ({reason}); check the path and its permissions"
    return "is no file but a folder, a pipe or a device; remove it"


def _entries(folder: Path, wanted: Callable[[Path], bool], bad: list[BadFileError]) -> list[Path]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and wanted(path))
    except OSError as error:
        raise BadFileError(
            folder, f"cannot be listed ({error.strerror}); check the path and its permissions"
        ) from error
    found = []
    for path in entries:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            shown = path.name.encode(errors="surrogateescape").decode(errors="replace")
            bad.append(BadFileError(folder / shown, "its name is not UTF-8; rename it"))
        else:
            found.append(path)
    return found


def pair_by_stem(
    sounds: Iterable[Path],
    pictures: Iterable[Path],
    bad: list[BadFileError],
    places: tuple[object, object],
    mend: Callable[[str], str] = str,
) -> list[tuple[str, Path, Path]]:
    """``(stem, sound, picture)`` of every stem that has one of each, in the order of the stems.

    A file without its partner, and all of a stem that several files of one kind share, go to ``bad``. ``places``:
    where the sounds and the pictures are looked for, for the message. Stems are compared as people read them, so
    in Unicode's composed form, and as ``mend`` corrects them.
    """
    by_stem: dict[str, tuple[list[Path], list[Path]]] = {}
    for which, paths in enumerate((sounds, pictures)):
        for path in paths:
            by_stem.setdefault(mend(unicodedata.normalize("NFC", path.stem)), ([], []))[which].append(path)
    pairs = []
    for stem in sorted(by_stem):
        heard, seen = by_stem[stem]
        double = next((paths for paths in (heard, seen) if len(paths) > 1), None)
        if double:
            bad.append(BadFileError(double[1], f"{double[0]} has the same stem; rename or remove one"))
        elif not seen:
            bad.append(
                BadFileError(heard[0], f"no picture or video {stem!r} in {places[1]}; add it or remove this one")
            )
        elif not heard:
            bad.append(BadFileError(seen[0], f"no sound file {stem!r} in {places[0]}; add it or remove this one"))
        else:
            pairs.append((stem, heard[0], seen[0]))
    return pairs


def first_of(bad: Sequence[BadFileError]) -> str:
    """The end of a message for which bad files may be the reason."""
    return f"; {len(bad)} files are bad, the first is {bad[0]}" if bad else ""


def whole_listing(root: Path, splits: dict[str, list[Sample]], bad: list[BadFileError], found: str) -> Listing:
    """The listing of a folder; ``UserError`` where nothing of what was ``found`` is left for one of the splits."""
    if empty := [name for name, part in splits.items() if not part]:
        raise UserError(
            f"{root}: none of {found} are left for the {empty[0]} split; change dataset.split or what belongs to "
            f"it{first_of(bad)}"
        )
    return Listing(splits, bad)


def to_rows(splits: Mapping[str, Sequence[Sample]], classes: Sequence[str]) -> datasets.DatasetDict:
    """Samples as Hugging Face splits with ``audio``, ``visual``, ``label`` and ``id``; they name the files."""
    import datasets

    return datasets.DatasetDict(
        {
            name: table(
                [{"bytes": None, "path": str(sample.audio)} for sample in samples],
                [{"bytes": None, "path": str(sample.visual)} for sample in samples],
                [sample.label for sample in samples],
                [sample.id for sample in samples],
                classes,
                name,
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
) -> datasets.Dataset:
    """A split in memory. ``fingerprint``: of the content, where cells hold bytes; paths speak for themselves."""
    import datasets
    import pyarrow

    features = datasets.Features(
        {
            "audio": datasets.Audio(decode=False),
            "visual": datasets.Image(decode=False),
            "label": datasets.ClassLabel(names=list(classes)),
            "id": datasets.Value("string"),
        }
    )
    # Written as Arrow at once: datasets' own encoder of Audio wants torchcodec even where nothing is decoded.
    columns = {"audio": list(audio), "visual": list(visual), "label": list(labels), "id": list(ids)}
    return datasets.Dataset(
        pyarrow.table(columns, schema=features.arrow_schema),
        info=datasets.DatasetInfo(features=features),
        split=datasets.Split(split),
        fingerprint=fingerprint or "paths",
    )
