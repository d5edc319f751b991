"""Image files to gray values or colours, and gray values to PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media.read import read_bytes


def decode(source: bytes | Path, name: str | Path) -> np.ndarray:
    """Gray values in [0, 1], float32 ``[H, W]``; colours by their luma (ITU-R 601). Raises as ``_open``."""
    image = _open(source, name)
    if image.mode.startswith("I"):
        return np.clip(np.asarray(image, dtype=np.float32) / 65535.0, 0.0, 1.0)
    return np.asarray(image.convert("L"), dtype=np.float32) / 255.0


def decode_colour(source: bytes | Path, name: str | Path) -> np.ndarray:
    """RGB values, uint8 ``[H, W, 3]``; gray ones three times. Raises as ``_open``."""
    image = _open(source, name)
    if image.mode.startswith("I"):
        gray = np.clip(np.asarray(image, dtype=np.float32) / 257.0, 0.0, 255.0)
        return np.repeat(np.round(gray).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _open(source: bytes | Path, name: str | Path) -> Any:
    """A decoded image, the right way up; reads what Pillow does.

    Raises ``BadFileError``, naming ``name``, for a file that cannot be read, is cut off, is larger than Pillow's
    limit, or is partly transparent (what shows through is not in the file).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    data = read_bytes(source, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode == "F":
                raise BadFileError(name, "an image of floating-point values has no fixed range; save it as PNG")
            may_show_through = not image.mode.startswith("I") and image.has_transparency_data
            if may_show_through and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise BadFileError(name, "the image is partly transparent; put it on a background first")
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError) as error:
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise BadFileError(name, f"not an image that can be read ({reason}); give a PNG file") from error


def encode_png(gray: np.ndarray) -> bytes:
    """Gray values in [0, 1], ``[H, W]``, as the bytes of an 8-bit PNG."""
    from PIL import Image

    pixels = np.round(np.clip(gray, 0.0, 1.0) * 255.0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
