"""A cached folder that is built once, atomically, and rebuilt if it is damaged."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.registry import UserError

MANIFEST = "manifest.json"
_STALE = 3600.0
_ATTEMPTS = 3

Loaded = TypeVar("Loaded")


def built_once(name: str, build: Callable[[Path], None], load: Callable[[Path], Loaded]) -> Loaded:
    """``load(folder)`` of the cache's folder ``name``, which ``build(folder)`` has filled.

    The folder is filled under a temporary name beside its own and renamed when complete, so that a later call
    never uses an interrupted build, and one of several simultaneous builds wins. A manifest holds the size and
    hash of every file, which a process verifies once; a folder that does not match it, or that ``load`` cannot
    read, is rebuilt with a line on standard error. Raises ``UserError`` if the cache cannot be written.
    """
    root = cache_dir()
    folder = root / name
    problem = ""
    for _ in range(_ATTEMPTS):
        rejected = _identity(folder)
        if rejected:
            problem = _damage(folder)
            if not problem:
                try:
                    return load(folder)
                except Exception as error:  # what a damaged Arrow file raises is not documented
                    problem = f"{type(error).__name__}: {error}"
            print(f"{folder}: the cached data set is damaged ({problem}); building it again", file=sys.stderr)
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root)
            _install(folder, build, rejected)
        except OSError as error:
            raise UserError(
                f"{root}: the data set cannot be stored here ({error}); free space or name another folder "
                f"in SCMRL_CACHE"
            ) from error
    raise UserError(f"{folder}: the data set just built cannot be read ({problem}); check this disk")


def _install(folder: Path, build: Callable[[Path], None], rejected: tuple[int, int] | None) -> None:
    """Fill a new folder and replace the rejected one with it, unless another process has done so."""
    with _partial(folder) as work:
        made = work / "new"
        made.mkdir()
        build(made)
        contents = {
            path.relative_to(made).as_posix(): [path.stat().st_size, _hash(path)]
            for path in sorted(made.rglob("*"))
            if path.is_file()
        }
        (made / MANIFEST).write_text(json.dumps({"files": contents}, indent=1), encoding="utf-8")
        if rejected and _identity(folder) == rejected:
            with contextlib.suppress(FileNotFoundError):
                folder.rename(work / "old")
        try:
            made.rename(folder)
        except OSError:
            if not folder.exists():
                raise


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove incomplete folders of killed builds."""
    for left in root.glob(".*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Inode and time, which change when the folder is replaced; ``None`` if there is no folder."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _damage(folder: Path) -> str:
    """The problem of a stored folder, or an empty string."""
    try:
        contents = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, (size, content) in contents.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes, not {size}"
            if _hash(path) != content:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return ""


def _hash(path: Path) -> str:
    """The hash of a file, read once by a process, and again if the file changed."""
    status = path.stat()
    return _hash_of(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.cache
def _hash_of(path: Path, *_state: int) -> str:
    import xxhash

    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
