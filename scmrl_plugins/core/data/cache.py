"""The stored features and tokens in the cache: their size and last use, and removing what is not used.

A folder has a list of files for each of its uses. The time of a list is that of its last use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError

KINDS = ("features", "tokens")
"""The folders of the cache that hold a folder for each data set and all that its content depends on."""
LOCK = ".lock"
DAY = 86_400.0
_USE = ".use"


@dataclass(frozen=True)
class Folder:
    """A folder of stored features or tokens: bytes, bytes that are not used, and the time of the last use."""

    kind: str
    dataset: str
    path: Path
    size: int
    unused: int
    used: float


def use(folder: Path, dataset: str, paths: Iterable[Path]) -> None:
    """Record that these files of a folder are used now.

    Not in a cache that is read-only, nor where a process that begins to fill the folder clears it at that moment:
    then the next use is recorded.
    """
    text = json.dumps({"dataset": dataset, "stems": sorted(path.stem for path in paths)})
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{_USE}"
    with contextlib.suppress(OSError, UserError):
        if path.exists():
            path.touch()
        else:
            files.write_text(path, text)


def held(days: float) -> list[Folder]:
    """All folders, the largest first. What was not used for that many days is unused."""
    before = time.time() - days * DAY
    return sorted((_folder(path, before) for path in _folders()), key=lambda folder: -folder.size)


def prune(days: float) -> int:
    """Remove what was not used for that many days, except where a process is writing; the bytes freed."""
    before, freed = time.time() - days * DAY, 0
    for folder in _folders():
        with contextlib.suppress(UserError), files.locked(folder, folder / LOCK, "is writing", "skip it"):
            for path in _unused(folder, before):
                freed += path.stat().st_size
                path.unlink()
            if all(path.name == LOCK for path in folder.iterdir()):
                (folder / LOCK).unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()  # if it is empty
    return freed


def _folders() -> Iterator[Path]:
    for kind in KINDS:
        parent = cache_dir() / kind
        yield from sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else ()


def _folder(path: Path, before: float) -> Folder:
    status = {file: file.stat() for file in path.iterdir() if file.is_file()}
    uses = _uses(path)
    times = [status[file].st_mtime for file in (uses or status)]
    names = {str(content["dataset"]) for content in uses.values()}
    return Folder(
        kind=path.parent.name,
        dataset=", ".join(sorted(names)) or path.name,
        path=path,
        size=sum(each.st_size for each in status.values()),
        unused=sum(status[file].st_size for file in _unused(path, before)),
        used=max(times, default=path.stat().st_mtime),
    )


def _unused(folder: Path, before: float) -> list[Path]:
    """The files that no use after that time lists, and that are older."""
    recent = [content for path, content in _uses(folder).items() if path.stat().st_mtime >= before]
    stems = {stem for content in recent for stem in content["stems"]}
    # The end of a stream, an empty file, is kept with its parts.
    return [
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.name != LOCK
        and path.stat().st_mtime < before
        and path.stem not in stems
        and not (path.suffix == ".end" and stems)
    ]


def _uses(folder: Path) -> dict[Path, dict[str, Any]]:
    """The lists of files in use."""
    found = {}
    for path in folder.glob(f"*{_USE}"):
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and {"dataset", "stems"} <= content.keys():
                found[path] = content
    return found
