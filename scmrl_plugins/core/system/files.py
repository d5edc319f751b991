"""Files that are whole or not there: written under another name, synced, renamed; and lines that are."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scmrl_plugins.registry import UserError

_PARTIAL = ".partial"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed while they wrote into a folder left there; nobody else may write."""
    for left in folder.glob(f".*{_PARTIAL}"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, lock: Path, does: str, otherwise: str) -> Iterator[None]:
    """Nobody else holds the lock of a folder meanwhile.

    Raises ``UserError`` where another process ``does`` something with the folder already, or where nothing can be
    written; then with the remedy ``otherwise``.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another process {does}; wait for it or stop it") from None
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); make it writable or {otherwise}"
        ) from None
    try:
        yield
    finally:
        held.release()


def _sync_folder(folder: Path) -> None:
    """Bring a change of names in a folder to the disk, where the system can do that for folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file, on the disk when this returns.

    What a process that was killed in between leaves is no line, as it lacks its end: ``read_lines`` passes it
    over.
    """
    with path.open("ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[str]:
    """The whole lines of a text file, without their ends; none where there is no file."""
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
