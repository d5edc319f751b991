"""Cells of a Hugging Face data set that hold a file or name one, as a path or an address."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.registry.errors import describe

PROTOCOLS = ("hf", "https", "http", "s3", "gs")
"""What addresses in cells may start with: a table of others must not name files of this machine in another way."""
LARGEST = 1 << 30
"""Most bytes that are fetched from an address."""
_STARTS = {
    b"FLV": ".flv",
    b"\x1aE\xdf\xa3": ".mkv",
    b"\x00\x00\x01\xba": ".mpg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ".wmv",
}


def file_of(cell: Any, row: str, column: str, base: str) -> dict[str, Any]:
    """``{"bytes", "path"}`` of a cell that is not empty: its bytes, or the path of its file, relative to ``base``.

    For bytes the path is a name for messages: the row, and the ending of the file. Raises ``BadFileError`` for
    samples that are no sound, ``ConnectionError`` for an address that cannot be fetched.
    """
    content, path = content_of(cell, row, column)
    if content is not None:
        name = Path(path).name if path else column
        return {"bytes": content, "path": f"{row}/{name}{'' if Path(name).suffix else _ending(content)}"}
    path = absolute(str(path), base)
    return {"bytes": _fetch(path) if "://" in path else None, "path": path}


def content_of(cell: Any, row: str, column: str) -> tuple[bytes | None, str | None]:
    """The bytes of a cell, or those of a wav file of its samples, and its path; none for what it lacks."""
    if isinstance(cell, str):
        return None, cell
    if isinstance(cell, bytes):
        return cell, None
    if cell is None:
        return None, None
    content, path = cell.get("bytes"), cell.get("path")
    if content is None and cell.get("array") is not None:
        content = _sound(cell, row, column)
    return content, path


def if_empty(cell: Any, column: str) -> str | None:
    """What is wrong with a cell that has neither bytes nor samples nor a path; else none."""
    if isinstance(cell, Mapping):
        filled = cell.get("bytes") is not None or cell.get("array") is not None or cell.get("path")
    else:
        filled = cell or cell == b""
    return None if filled else f"its cell of column {column!r} is empty; fill it or leave the row out"


def _sound(cell: Mapping[str, Any], row: str, column: str) -> bytes:
    """A wav file of a cell with ``array``, ``[n]`` or ``[channels, n]`` in [-1, 1], and ``sampling_rate``."""
    import numpy as np
    import soundfile

    try:
        samples = np.atleast_2d(np.asarray(cell["array"], dtype=np.float32)).T
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, int(cell["sampling_rate"]), format="WAV", subtype="FLOAT")
    except Exception as error:  # for nested or missing values, or a rate that no file has
        raise BadFileError(
            row,
            f"its cell of column {column!r} has no array of samples with a sampling_rate ({describe(error)}); "
            f"correct it or leave the row out",
        ) from error
    return buffer.getvalue()


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
    """The file at an address, on the hub (``hf://``) or elsewhere on the network."""
    import fsspec

    if address.partition("://")[0] not in PROTOCOLS:
        allowed = ", ".join(f"{name}://" for name in PROTOCOLS)
        raise BadFileError(address, f"does not start with one of {allowed}; correct the cell or leave the row out")
    try:
        with fsspec.open(address, "rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise BadFileError(address, "does not exist; correct the cell or leave the row out") from error
    except Exception as error:
        raise ConnectionError(f"{address}: cannot be fetched ({describe(error)})") from error
    if len(content) > LARGEST:
        raise BadFileError(address, f"has more than {LARGEST >> 30} GB; shorten it or leave the row out")
    return content
