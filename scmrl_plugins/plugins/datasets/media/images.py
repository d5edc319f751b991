"""Image files to gray values or colours, and gray values to PNG."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media.read import read_bytes, refused

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM")
"""Pillow's names of the formats that are read; AVIF where Pillow has it."""
LARGEST = 1 << 26
"""Most pixels of an image, twice those of 8K."""


def decode(source: bytes | Path, name: str | Path) -> np.ndarray:
    """Gray values in [0, 1], float32 ``[H, W]``; colours by their luma (ITU-R 601). Raises as ``_open``."""
    image = _open(source, name)
    if image.mode.startswith("I"):
        return np.clip(np.asarray(image, dtype=np.float32) / 65535.0, 0.0, 1.0)
    return np.asarray(image.convert("L"), dtype=np.float32) / 255.0


def gray(colours: np.ndarray) -> np.ndarray:
    """RGB values, uint8 ``[H, W, 3]``, to gray values as ``decode`` gives them."""
    from PIL import Image

    return np.asarray(Image.fromarray(colours).convert("L"), dtype=np.float32) / 255.0


def decode_colour(source: bytes | Path, name: str | Path) -> np.ndarray:
    """RGB values, uint8 ``[H, W, 3]``; gray ones three times. Raises as ``_open``."""
    image = _open(source, name)
    if image.mode.startswith("I"):
        gray = np.clip(np.asarray(image, dtype=np.float32) / 257.0, 0.0, 255.0)
        return np.repeat(np.round(gray).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _open(source: bytes | Path, name: str | Path) -> Any:
    """A decoded image of one of ``FORMATS``, the right way up.

    Raises ``BadFileError``, naming ``name``, for a file that cannot be decoded, is cut off, has more than
    ``LARGEST`` pixels, is partly transparent (what shows through is not in the file), or has values of an unknown
    range: floating point, 32 bits, or 16 bits of which only the lower 12 are used.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    data = read_bytes(source, name)
    with refused(name, "not an image that can be read", "give a PNG file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about metadata and sizes
        Image.init()
        try:
            # By name: for EPS, for one, Pillow would start Ghostscript.
            image = Image.open(io.BytesIO(data), formats=[each for each in FORMATS if each in Image.OPEN])
        except UnidentifiedImageError as error:
            raise ValueError(f"none of {', '.join(FORMATS)}") from error
        with image:
            if image.width * image.height > LARGEST:
                raise BadFileError(
                    name,
                    f"the image has {image.width} x {image.height} pixels, and {LARGEST:,} is most; shrink it",
                )
            image.load()
            _refuse_unknown_range(image, name)
            may_show_through = not image.mode.startswith("I") and image.has_transparency_data
            if may_show_through and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise BadFileError(name, "the image is partly transparent; put it on a background first")
            return ImageOps.exif_transpose(image)


def _refuse_unknown_range(image: Any, name: str | Path) -> None:
    """``BadFileError`` where the file does not tell which value is white."""
    if image.mode == "F":
        raise BadFileError(name, "an image of floating-point values has no fixed range; save it as PNG")
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # whose values have 16 bits
        raise BadFileError(name, "an image of 32-bit values has no fixed range; save it as PNG")
    if image.mode.startswith("I") and 0 < (brightest := int(np.asarray(image).max())) < 4096:
        raise BadFileError(
            name,
            f"the brightest of its 16-bit values is {brightest} of 65535, as if it had 12 bits or less; scale the "
            f"values to 16 bits, or save it with 8",
        )


def encode_png(gray: np.ndarray) -> bytes:
    """Gray values in [0, 1], ``[H, W]``, as the bytes of an 8-bit PNG."""
    from PIL import Image

    pixels = np.round(np.clip(gray, 0.0, 1.0) * 255.0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
