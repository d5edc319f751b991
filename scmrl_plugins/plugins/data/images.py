"""Image files to gray values, and gray values to PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from scmrl_plugins.plugins.data.sources import read_bytes
from scmrl_plugins.registry import UserError


def decode(source: bytes | Path, name: str | Path) -> np.ndarray:
    """Gray values in [0, 1], float32 ``[H, W]``; colours by their luma (ITU-R 601).

    Reads what Pillow does. Raises ``UserError``, naming ``name``, for a file that cannot be read, is cut off,
    is larger than Pillow's limit, or is partly transparent (what shows through is not in the file).
    """
    from PIL import Image

    data = read_bytes(source, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode == "F":
                raise UserError(f"{name}: an image of floating-point values has no fixed range; save it as PNG")
            if image.mode.startswith("I"):
                return np.clip(np.asarray(image, dtype=np.float32) / 65535.0, 0.0, 1.0)
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise UserError(f"{name}: the image is partly transparent; put it on a background first")
            return np.asarray(image.convert("L"), dtype=np.float32) / 255.0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError) as error:
        raise UserError(f"{name}: not an image that can be read ({error}); give a PNG file") from error


def encode_png(gray: np.ndarray) -> bytes:
    """Gray values in [0, 1], ``[H, W]``, as the bytes of an 8-bit PNG."""
    from PIL import Image

    pixels = np.round(np.clip(gray, 0.0, 1.0) * 255.0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
