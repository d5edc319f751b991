"""The bytes of a recording or an image, from a row's cell or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.core.interfaces import BadFileError

_POINTER = b"version https://git-lfs.github.com/spec/"


def read_bytes(source: bytes | Path, name: str | Path) -> bytes:
    """``source`` itself, or the content of its file.

    Raises ``BadFileError``, naming ``name``, for a file that cannot be read, is empty, or is git-lfs's pointer to
    data that was not fetched.
    """
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except (OSError, ValueError) as error:  # a ValueError is a name with a null byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BadFileError(name, f"cannot be read ({reason}); check the path and its permissions") from error
    if not data:
        raise BadFileError(name, "is empty (0 bytes); copy it again or leave it out")
    if data.startswith(_POINTER):
        raise BadFileError(name, "is a git-lfs pointer, not the data; run 'git lfs pull' in its repository")
    return data


def source_of(cell: Mapping[str, Any], modality: str) -> tuple[bytes | Path, str]:
    """The bytes of a row's cell, or the path of its file, and a name for messages."""
    path = cell.get("path")
    if cell.get("bytes") is not None:
        return cell["bytes"], path or f"{modality} of a row"
    if not path:
        raise BadFileError(f"{modality} of a row", "has neither bytes nor a path; build the data set again")
    return Path(path), path
