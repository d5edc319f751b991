"""The bytes of a recording or an image, from a row's cell or from a file."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import unreadable
from scmrl_plugins.registry import UserError

LARGEST_FILE = 1 << 30
"""Most bytes of a file that is read into memory: images, events, and what ``scmrl predict`` is given."""
POINTER = "is a git-lfs pointer"
"""The beginning of the reason why git-lfs's pointer to data that was not fetched is bad."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024
"""Bytes of a pointer at most, by git-lfs's specification."""


@contextlib.contextmanager
def opened(source: bytes | Path, name: str | Path) -> Iterator[BinaryIO]:
    """The bytes of ``source``, or its file, as a stream that can be searched.

    Raises ``BadFileError``, naming ``name``, for a file that cannot be read, is empty, or is git-lfs's pointer to
    data that was not fetched.
    """
    try:
        # Opening a pipe would wait for its other end.
        if isinstance(source, Path) and not source.is_dir() and (reason := unreadable(source)):
            raise BadFileError(name, reason)
        stream: BinaryIO = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    except OSError as error:
        raise BadFileError(
            name, f"cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    with stream:
        start = stream.read(len(_POINTER))
        if not start:
            raise BadFileError(name, "is empty (0 bytes); copy it again or leave it out")
        if start == _POINTER:
            raise BadFileError(
                name,
                f"{POINTER}, not the data; run 'git lfs pull' in its repository or, where its LFS budget is "
                f"spent, copy the file from a mirror of the data set",
            )
        stream.seek(0)
        yield stream


def is_pointer(path: Path) -> bool:
    """Whether a file is git-lfs's pointer; false for one that cannot be read."""
    try:
        if path.stat().st_size > _LONGEST_POINTER:
            return False
        with path.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def read_bytes(source: bytes | Path, name: str | Path) -> bytes:
    """``source`` itself, or the content of its file. Raises as ``opened``, and for more than ``LARGEST_FILE``."""
    with opened(source, name) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size > LARGEST_FILE:
            raise BadFileError(
                name, f"has {size / 2**30:.1f} GB, at most {LARGEST_FILE >> 30} is read; shorten it"
            )
        stream.seek(0)
        with refused(name, "cannot be read", "check the disk it is on"):
            return source if isinstance(source, bytes) else stream.read()


@contextlib.contextmanager
def refused(name: str | Path, what: str, remedy: str) -> Iterator[None]:
    """Make of whatever a decoder raises a ``BadFileError``: ``{name}: {what} ({its message}); {remedy}``.

    Decoders of other people's bytes raise all kinds of errors, such as ``MemoryError`` where a header claims too
    much, ``OverflowError`` and ``UnicodeDecodeError``.
    """
    try:
        yield
    except UserError:  # which has its line already
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            reason = "it takes more memory than there is"
        raise BadFileError(name, f"{what} ({reason}); {remedy}") from error


def source_of(cell: Mapping[str, Any], modality: str) -> tuple[bytes | Path, str]:
    """The bytes of a row's cell, or the path of its file, and a name for messages."""
    path = cell.get("path")
    if cell.get("bytes") is not None:
        return cell["bytes"], path or f"{modality} of a row"
    if not path:
        raise BadFileError(f"{modality} of a row", "has neither bytes nor a path; build the data set again")
    return Path(path), path
