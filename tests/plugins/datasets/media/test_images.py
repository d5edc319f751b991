from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import images
from scmrl_plugins.registry import UserError


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, format="PNG")
    return buffer.getvalue()


def test_gray_values_survive() -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    decoded = images.decode(png(gray), "x")
    np.testing.assert_allclose(decoded * 255, gray, atol=1e-4)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(images.decode(images.encode_png(decoded), "x"), decoded)


def test_sixteen_bit_images_keep_their_range() -> None:
    gray = np.array([[0, 65535], [32768, 256]], dtype=np.uint16)
    np.testing.assert_allclose(images.decode(png(gray), "x"), gray / 65535, atol=1e-6)


def test_colour_and_palette_become_gray() -> None:
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    np.testing.assert_allclose(images.decode(png(white), "x"), 1.0)
    np.testing.assert_allclose(images.decode(png(white, "P"), "x"), 1.0)
    green = np.zeros((4, 4, 3), dtype=np.uint8)
    green[..., 1] = 255
    np.testing.assert_allclose(images.decode(png(green), "x"), 0.587, atol=0.005)


def test_transparent_images_are_refused_and_opaque_ones_taken() -> None:
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    with pytest.raises(UserError, match=r"ghost.png: the image is partly transparent"):
        images.decode(png(rgba), "ghost.png")
    rgba[..., 3] = 255
    assert images.decode(png(rgba), "x").shape == (4, 4)


def bomb() -> bytes:
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="TIFF")
    return buffer.getvalue()


def test_values_of_an_unknown_range_are_refused() -> None:
    gray = np.linspace(0, 65535, 64).reshape(8, 8)
    for decode in (images.decode, images.decode_colour):
        with pytest.raises(UserError, match=r"x.tif: the brightest of its 16-bit values is 4095 of 65535"):
            decode(tiff((gray / 16).astype(np.uint16)), "x.tif")
        with pytest.raises(UserError, match=r"x.tif: an image of 32-bit values has no fixed range"):
            decode(tiff((gray / 256).astype(np.int32)), "x.tif")
    np.testing.assert_allclose(images.decode(tiff(gray.astype(np.uint16)), "x"), gray / 65535, atol=2e-5)
    assert images.decode(tiff(np.zeros((4, 4), np.uint16)), "x").max() == 0  # black in any range


@pytest.mark.parametrize(
    "start", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", b"\0\0\1\0\1\0", b"8BPS\0\1"]
)
def test_only_named_formats_are_decoded(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would start Ghostscript for the first."""
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(UserError, match=r"none of PNG, JPEG, GIF, BMP, TIFF, WEBP, AVIF, PPM"):
        images.decode(start + bytes(100), "x.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_named_formats_are_decoded_and_cut_ones_refused(kind: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (28, 28, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, format=kind)
    data = buffer.getvalue()
    assert images.decode_colour(data, "x").shape == (28, 28, 3)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(BadFileError):
            images.decode_colour(data[: int(share * len(data))], "x")


def test_an_image_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(np.zeros((4, 4), np.uint8))
    monkeypatch.setattr(images, "LARGEST", 15)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(BadFileError, match="4 x 4 pixels, and 15 is most"):
        images.decode(data, "x")


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "cut", "bomb", "float"])
def test_bad_files_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.png"
    complete = png(np.random.default_rng(0).integers(0, 255, (28, 28)).astype(np.uint8))
    if kind == "float":
        Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(path, format="TIFF")
    elif kind != "absent":
        data = {"empty": b"", "text": b"no image", "cut": complete[: len(complete) // 2], "bomb": bomb()}
        path.write_bytes(data[kind])
    with pytest.raises(UserError) as caught:
        images.decode(path, path)
    assert str(caught.value).startswith(f"{path}: ")
