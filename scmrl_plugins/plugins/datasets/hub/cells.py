"""Cells of a Hugging Face data set that hold a file or name one, as a path or an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.registry.errors import describe

_STARTS = {b"FLV": ".flv", b"\x1aE\xdf\xa3": ".mkv", b"\x00\x00\x01\xba": ".mpg"}


def file_of(cell: Any, row: str, column: str, base: str) -> dict[str, Any]:
    """``{"bytes", "path"}`` of a cell: its bytes, or the path of its file, relative to ``base``.

    For bytes the path is a name for messages: the row, and the ending of the file. Raises ``BadFileError`` for an
    empty cell, ``ConnectionError`` for an address that cannot be fetched.
    """
    if isinstance(cell, str):
        cell = {"path": cell}
    elif isinstance(cell, bytes):
        cell = {"bytes": cell}
    content, path = (cell.get("bytes"), cell.get("path")) if cell else (None, None)
    if content is not None:
        return {"bytes": content, "path": f"{row}/{Path(path).name if path else column + _ending(content)}"}
    if not path:
        raise BadFileError(row, f"its cell of column {column!r} is empty; fill it or leave the row out")
    path = absolute(path, base)
    return {"bytes": _fetch(path) if "://" in path else None, "path": path}


def absolute(path: str, base: str) -> str:
    """A path or an address; a relative one starts from ``base``."""
    return path if "://" in path or Path(path).is_absolute() else f"{base}/{path}"


def _ending(data: bytes) -> str:
    """The usual ending of a video's name, by its first bytes; empty for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return ".avi"
    if data[4:8] == b"ftyp" and data[8:12] not in (b"avif", b"heic", b"mif1"):
        return ".mp4"
    return next((ending for start, ending in _STARTS.items() if data.startswith(start)), "")


def _fetch(address: str) -> bytes:
    """The file at an address, on the hub (``hf://``) or anywhere that fsspec reaches."""
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise BadFileError(address, "does not exist; correct the cell or leave the row out") from error
    except Exception as error:
        raise ConnectionError(f"{address}: cannot be fetched ({describe(error)})") from error
