"""Files written atomically: under a temporary name, synced, then renamed; hashes of their content; locks; JSON."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scmrl_plugins.registry import UserError

_PARTIAL = ".partial"
LONGEST_TEXT = 2**16
"""Characters of a text in a file of JSON or TOML that is read."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path next to ``path``, which it replaces if the block ends without an error.

    An ``OSError``, in the block too, names ``path``.
    """
    temporary = path.parent / f".{path.name[:200]}.{secrets.token_hex(4)}{_PARTIAL}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less what the umask takes
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors makes the file anew, readable by its owner alone
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make a folder, with its parents, and fill it in the block; an error there leaves nothing of it behind.

    A folder that is there stays, but is emptied.
    """
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        with saved(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if folder in new:
                folder.chmod(0o700)  # whatever the umask
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        for one in new:
            with contextlib.suppress(OSError):
                one.rmdir()
        raise


def check_creatable(path: Path, remedy: str) -> None:
    """``UserError`` with the ``remedy`` if no file or folder can be created at a path, or replaced there."""
    try:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: a link to {path.readlink()}, which does not exist; {remedy}")
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"{path}: neither a file nor a folder; {remedy}")
        folders = path.absolute().parents if path.is_file() else (path.absolute(), *path.absolute().parents)
        nearest = next(one for one in folders if one.exists())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; {remedy}") from None
    which = "" if nearest == path.absolute() else f"{nearest} "
    if not nearest.is_dir():
        raise UserError(f"{path}: {which}is no folder; {remedy}")
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise UserError(f"{path}: {which}cannot be written; {remedy}")


State = tuple[int, int, int, int] | None


def state(path: Path) -> State:
    """What changes when a file is replaced or written to: inode, size and times; ``None`` if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_hash(path: Path) -> str:
    """The XXH3 hash (128 bits) of a file's content, which finds damage but no forgery. Raises ``OSError``.

    A process reads a file once, and again if its ``state`` changed.
    """
    return _content_hash(path, state(path))


@functools.cache
def _content_hash(path: Path, current: State) -> str:
    import xxhash

    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def remove_partial(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder. No other process may write to it meanwhile."""
    for path in folder.glob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, lock: Path, does: str, otherwise: str) -> Iterator[None]:
    """Hold the lock of a folder for the block.

    Raises ``UserError`` if another process holds it, which ``does`` something with the folder, or if the folder
    cannot be written; then ``otherwise`` is the remedy.
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


@contextlib.contextmanager
def waiting(lock: Path, report: Callable[[], None]) -> Iterator[None]:
    """Hold a lock for the block; where another process holds it, ``report()`` and wait."""
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        report()
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _sync_folder(folder: Path) -> None:
    """Sync a rename in a folder to disk, if the system supports that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def saved(path: Path) -> Iterator[None]:
    """``UserError`` if a file cannot be written, for example on a full disk."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be saved ({error.strerror or error}); free space or make the folder writable"
        ) from error


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file and sync it to disk.

    A process that is killed meanwhile leaves an incomplete line. ``read_lines`` ignores it, and the next call
    removes it, so that its line is not glued to it.
    """
    with saved(path), path.open("a+b") as file:
        if size := file.seek(0, os.SEEK_END):
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def check_name(path: Path) -> None:
    """``UserError`` for a name that is not UTF-8, which libraries do not open and no file can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: a name that is not UTF-8; rename it, or choose another") from None


def check_regular(path: Path) -> None:
    """``UserError`` for what is there but is no file with an end, such as a pipe or a device."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; put the file itself there")


def read_text(path: Path, largest: int = 16 * 2**20) -> str:
    """The text of a file, with or without a byte order mark.

    Raises ``UserError`` for what is not a regular file, has more than ``largest`` bytes or is not UTF-8, and
    ``OSError`` for what cannot be opened.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UserError(f"{path}: larger than {largest >> 20} MiB, which such a file never is; restore it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}); restore it") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises like ``read_text``, and ``UserError`` for what is not JSON."""
    return from_json(read_text(path), path)


def read_table(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises like ``read_json``, and ``UserError`` for another value."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: has no JSON object; restore or remove it")
    return value


def from_json(text: str, path: Path) -> Any:
    """``text`` as JSON; ``UserError`` names the file that it is from, also where ``check_texts`` fails."""
    try:
        value = json.loads(text)
        if len(text) > LONGEST_TEXT:
            check_texts(value)
        return value
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for JSON; restore or remove it") from None
    except ValueError as error:
        reason = "a number has more than 4,300 digits" if "int_max_str_digits" in str(error) else error
        raise UserError(f"{path}: not JSON ({reason}); restore or remove it") from None


def check_texts(value: Any, longest: int = LONGEST_TEXT) -> None:
    """``ValueError`` for a value of JSON or TOML with a text of more characters, such as the name of a class."""
    if isinstance(value, str) and len(value) > longest:
        raise ValueError(f"a text has {len(value):,} characters ({value[:20]!r}...), more than {longest:,}")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in (*(value if isinstance(value, dict) else ()), *items):
        if isinstance(item, str | dict | list):
            check_texts(item, longest)


def read_lines(path: Path, largest: int = 2**28) -> list[str]:
    """The complete lines of a text file, without line ends; an empty list if there is no file.

    Raises like ``read_text``.
    """
    if not path.exists():
        return []
    return read_text(path, largest).split("\n")[:-1]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with saved(path), replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically."""
    write_text(path, to_json(value, indent=2) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON, with null for NaN and infinities, which JSON does not have."""
    from pydantic_core import to_jsonable_python

    return json.dumps(to_jsonable_python(value, inf_nan_mode="null"), indent=indent, allow_nan=False)
