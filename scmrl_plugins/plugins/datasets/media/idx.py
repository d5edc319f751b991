"""MNIST's own file format, idx, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from scmrl_plugins.registry import UserError

_UINT8 = 0x08


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in an idx file: two zero bytes, type 8, the number of dimensions, their
    sizes as big-endian 32-bit numbers, the data.

    Raises ``UserError`` for a file that is unreadable, damaged, cut off or of another shape.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix} ({error}); download it again") from error
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, _UINT8, dimensions]):
        raise UserError(
            f"{path}: not an idx file of {dimensions}-dimensional bytes (its first bytes are "
            f"{data[:4].hex() or 'none'}); download it again"
        )
    shape = [int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions)]
    if len(data) - start != math.prod(shape):
        raise UserError(
            f"{path}: {len(data) - start} bytes of data, its header promises "
            f"{' x '.join(map(str, shape))} = {math.prod(shape)}; download it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of unsigned bytes as the content of an idx file; ``read_idx`` reads it back."""
    header = bytes([0, 0, _UINT8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()
