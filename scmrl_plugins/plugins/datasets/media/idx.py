"""MNIST's own file format, idx, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scmrl_plugins.registry import UserError

BYTES, INTEGERS = np.dtype(np.uint8), np.dtype(">i4")
MOST = 1 << 30
"""Bytes of a file that are read; MNIST's have up to 47 MB, EMNIST's 550 MB."""
_TYPES = {BYTES: 0x08, INTEGERS: 0x0C}


def find_idx(root: Path, folders: Sequence[str], name: str, dimensions: int, kind: str) -> Path | None:
    """``name-idx3-kind``, also ``name.idx3-kind`` and with ``.gz``, in the first of the folders that has it."""
    for folder in folders:
        for joint in ("-", "."):
            for ending in ("", ".gz"):
                path = root / folder / f"{name}{joint}idx{dimensions}-{kind}{ending}"
                if path.is_file():
                    return path
    return None


def read_idx(path: Path, dimensions: int, dtype: np.dtype = BYTES) -> np.ndarray:
    """The array in an idx file: two zero bytes, the type (8: unsigned bytes, 12: big-endian 32-bit integers), the
    number of dimensions, their sizes as big-endian 32-bit numbers, the data.

    Raises ``UserError`` for a file that is unreadable, damaged, cut off, of another type or shape, or too large.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix} ({error}); download it again") from error
    if len(data) > MOST:
        raise UserError(f"{path}: has more than {MOST >> 20} MB of data, as no copy of MNIST; download it again")
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, _TYPES[dtype], dimensions]):
        what = "bytes" if dtype == BYTES else "32-bit integers"
        raise UserError(
            f"{path}: not an idx file of {dimensions}-dimensional {what} (its first bytes are "
            f"{data[:4].hex() or 'none'}); download it again"
        )
    shape = [int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions)]
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start != expected:
        raise UserError(
            f"{path}: {len(data) - start} bytes of data, its header promises "
            f"{' x '.join(map(str, shape))}{' x 4' if dtype == INTEGERS else ''} = {expected}; download it again"
        )
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)


def idx_bytes(array: np.ndarray, dtype: np.dtype = BYTES) -> bytes:
    """An array as the content of an idx file; ``read_idx`` reads it back."""
    header = bytes([0, 0, _TYPES[dtype], array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(dtype).tobytes()
