"""Files to classify: the samples of a folder or a table, whose classes are not known."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePath

from scmrl_plugins.core.interfaces import BadFileError, Files
from scmrl_plugins.plugins.datasets.files.folders import PICTURES, SOUNDS, VIDEOS, files_below, is_folder
from scmrl_plugins.plugins.datasets.files.tables import Row, read_table
from scmrl_plugins.plugins.datasets.files.window import Window, window_of
from scmrl_plugins.registry import UserError

APART = ("audio", "visual")
"""Names of two folders side by side, one with the sounds and one with the pictures."""
WindowColumns = tuple[float | str, float | str | None]
"""The columns for the start and the duration of windows, or values for all rows; see ``window_of``."""
WINDOW: WindowColumns = ("start", "seconds")


def find(source: Path, bad: list[BadFileError], window: WindowColumns = WINDOW) -> list[Files]:
    """The samples in a folder, see ``in_folder``, or in the rows of a table, see ``in_table``."""
    if is_folder(source):
        return in_folder(source, bad)
    if source.is_file():
        return in_table(source, bad, window)
    raise UserError(f"{source}: no such file or folder; check the path")


def in_folder(root: Path, bad: list[BadFileError]) -> list[Files]:
    """The samples in a folder and in all folders below it, by name: the path without its ending.

    Files of one stem in one folder are a sample: a sound, a picture or video, or both; a video alone is both.
    Where ``audio`` and ``visual`` are side by side, the same path below them counts as one folder. Several sounds
    or several pictures of one stem go to ``bad``. Raises ``UserError`` for a folder without any of these files.
    """
    found: dict[PurePath, tuple[list[Path], list[Path]]] = {}
    apart: dict[Path, bool] = {}
    for path in files_below(root, SOUNDS | PICTURES | VIDEOS, bad):
        key, side = _key(root, path, apart)
        kind = int(path.suffix.lower() not in SOUNDS) if side is None else side
        if side is not None and path.suffix.lower() in (PICTURES, SOUNDS)[side]:
            bad.append(BadFileError(path, f"is in the folder {APART[side]}; move it to {APART[1 - side]}"))
        else:
            found.setdefault(key, ([], []))[kind].append(path)
    if not found and not bad:
        raise UserError(f"{root}: holds no sounds, pictures or videos; give the folder that does")
    samples = []
    for key, (heard, seen) in sorted(found.items()):
        if double := next((paths for paths in (heard, seen) if len(paths) > 1), None):
            bad.append(BadFileError(double[1], f"{double[0]} has the same stem; rename or remove one"))
            continue
        audio, visual = (next(iter(paths), None) for paths in (heard, seen))
        if visual and not audio and visual.suffix.lower() in VIDEOS and _key(root, visual, apart)[1] is None:
            audio = visual
        samples.append(Files(key.as_posix(), audio, visual))
    return samples


def _key(root: Path, path: Path, apart: dict[Path, bool]) -> tuple[PurePath, int | None]:
    """What files of one sample share, and which of the folders ``APART`` a file is in, none for neither."""
    folders, stem = path.relative_to(root).parts[:-1], unicodedata.normalize("NFC", path.stem)
    above = root
    for index, name in enumerate(folders):
        if above not in apart:
            apart[above] = all(is_folder(above / each) for each in APART)
        if apart[above] and name in APART:
            return PurePath(*folders[:index], *folders[index + 1 :], stem), APART.index(name)
        above /= name
    return PurePath(*folders, stem), None


def in_table(path: Path, bad: list[BadFileError], window: WindowColumns = WINDOW) -> list[Files]:
    """The samples in the rows of a table with ``audio``, ``visual``, both or ``video``, and optionally ``id``.

    Cells name files, seen from the table's folder; some may be empty. A sample is named by its ``id``, otherwise
    by its cells. Where the table has one of the columns of ``window``, each row says which part of its files is
    used; a start that is not there is 0, and without a duration it is all from there. Raises ``UserError`` as
    ``read_table``, and for a table without rows.
    """
    columns = [each for each in window if isinstance(each, str)]
    instead = {"visual": ("audio",), "video": ("audio",)}
    rows = read_table(path, ("audio",), ("id", *columns), bad, instead=instead)
    if not rows and not bad:
        raise UserError(f"{path}: holds no rows; write one a sample")
    there = {each for each in columns if any(each in row.cells for row in rows)}
    start, seconds = (each if each in there or not isinstance(each, str) else None for each in window)
    samples = []
    for row in rows:
        try:
            part = window_of(row, start or 0.0, seconds) if there else None
            samples.append(_in_row(row, part))
        except BadFileError as error:
            bad.append(error)
    return samples


def _in_row(row: Row, window: Window | None) -> Files:
    given = [column for column in (*APART, "video") if row.cells.get(column) not in (None, "")]
    if not given:
        raise row.bad("audio", "is empty, and so are visual and video; name a file in one of them")
    if "video" in given and len(given) > 1:
        raise row.bad("video", f"names a file, and so does column {given[0]!r}; empty one of the two")
    paths = {column: row.file(column) for column in given}
    name = " ".join(row.text(column) for column in given)
    if row.cells.get("id") not in (None, ""):
        name = row.text("id", number=True)
    audio, visual = (paths.get("video", paths.get(column)) for column in APART)
    part = None if window is None else (window.start, None if window.seconds is None else window.end)
    return Files(name, audio, visual, part)
