"""Listing of a user's folders: usable files, and files that cannot be used."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.registry import UserError

SOUNDS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".ac3", ".eac3", ".wma", ".mka", ".weba"}
    | {".aiff", ".aif", ".aifc", ".au", ".caf", ".mp2"}
)
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
VIDEOS = frozenset(
    {".flv", ".mp4", ".m4v", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".wmv", ".asf", ".ts", ".mts"}
    | {".m2ts", ".3gp", ".3g2"}
)

NOT_READ = {
    SOUNDS: (frozenset({".amr", ".ape", ".wv"}), "wav"),
    PICTURES: (frozenset({".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".dng"}), "png"),
    VIDEOS: (frozenset({".ogv", ".rm", ".rmvb", ".vob", ".dv"}), "mp4"),
}
"""Endings of files that people have beside those, and to which of them to convert such a file."""


def root_folder(root: str | None, needs: str, holds: str) -> Path:
    """A data set's ``dataset.root``. Raises ``UserError``: ``needs`` where it is not set, or that it ``holds``."""
    if not root:
        raise UserError(needs)
    folder = user_path(root)
    if not is_folder(folder):
        raise UserError(f"{folder}: not a folder; set dataset.root to the one {holds}")
    return folder


def user_path(path: str) -> Path:
    """A path as users write it: ``~`` is the home folder, except where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; false for one that cannot be looked up."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def files_in(folder: Path, endings: frozenset[str], bad: list[BadFileError]) -> list[Path]:
    """The files of a folder with one of the endings (in lower case), sorted; hidden files are ignored.

    What has such an ending but is not a file, or has a name that is not UTF-8 and cannot be stored, goes to
    ``bad``, and so does a file of the same kind in a format that is ``NOT_READ``. Raises ``BadFileError`` for a
    folder that cannot be listed.
    """
    remedies = {
        ending: f"{ending} files are not read; convert it to {usual}"
        for kind, (unread, usual) in NOT_READ.items()
        if kind <= endings
        for ending in unread
    }
    paths = []
    for path in _entries(folder, lambda path: path.suffix.lower() in {*endings, *remedies}, bad):
        if reason := remedies.get(path.suffix.lower()) or unreadable(path):
            bad.append(BadFileError(path, reason))
        else:
            paths.append(path)
    return paths


def folders_in(folder: Path, bad: list[BadFileError]) -> list[Path]:
    """The folders in a folder, sorted, as ``files_in`` lists files."""
    return _entries(folder, Path.is_dir, bad)


def files_below(root: Path, endings: frozenset[str], bad: list[BadFileError]) -> list[Path]:
    """The files with one of the endings in a folder and in all folders below it, sorted.

    Each folder is listed once, though links may lead to it again.
    """
    paths: list[Path] = []
    visited: set[Path] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if folder.resolve() in visited:
            continue
        visited.add(folder.resolve())
        paths += files_in(folder, endings, bad)
        waiting += folders_in(folder, bad)
    return sorted(paths)


def unreadable(path: Path) -> str | None:
    """Why a path is not a regular file, with the remedy; ``None`` if it is one. Reading a pipe would block."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return None
    except (OSError, ValueError) as error:  # a ValueError is a name with a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        return f"cannot be read ({reason}); check the path and its permissions"
    return "is a folder, a pipe or a device, not a file; put a file there, or remove it"


def _entries(folder: Path, keep: Callable[[Path], bool], bad: list[BadFileError]) -> list[Path]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and keep(path))
    except OSError as error:
        raise BadFileError(
            folder, f"cannot be listed ({error.strerror}); check the path and its permissions"
        ) from error
    paths = []
    for path in entries:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            printable = path.name.encode(errors="surrogateescape").decode(errors="replace")
            bad.append(BadFileError(folder / printable, "its name is not UTF-8; rename it"))
        else:
            paths.append(path)
    return paths
