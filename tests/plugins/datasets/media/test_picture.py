from __future__ import annotations

import io
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig
from scmrl_plugins.plugins.datasets.media.picture import PictureConfig, PictureFrontEnd, shifted, turned
from scmrl_plugins.plugins.datasets.miniatures.crema_d import write_video
from scmrl_plugins.registry import UserError

SIZE = 16
PUBLISHED = {"resize": "double", "crop_scale": (0.08, 1.0), "flip": 0.5, "shift": 0.0, "normalize": "imagenet"}
MEAN, DEVIATION = (np.array(v, np.float32)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def front_end(**options: Any) -> PictureFrontEnd:
    return PictureFrontEnd(PictureConfig(**options), ModelConfig(image_size=SIZE))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def noise(height: int = 30, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawn(made: PictureFrontEnd, stored: np.ndarray, seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    return made.inputs(stored, True)


@pytest.mark.parametrize("resize", ["fit", "double", 17])
@pytest.mark.parametrize("size", [(30, 60), (61, 29), (SIZE, SIZE), (34, 34), (7, 99)])
def test_pictures_are_resized_as_torchvision_does_without_importing_it(
    resize: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, picture = front_end(resize=resize), noise(*size)
    expected = np.asarray(tv.resize(Image.fromarray(picture), made.stored_size))
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    assert np.array_equal(made.stored(picture, "a"), expected)


def test_the_published_transform_is_as_it_was() -> None:
    """Shorter side 2 S, random crops and mirror images, the middle S x S in evaluation, ImageNet's statistics."""
    made = front_end(**PUBLISHED)
    stored = made.decode(png(noise()), "a.png")
    resized = np.asarray(tv.resize(Image.fromarray(noise()), [2 * SIZE]))
    assert np.array_equal(stored, resized[None])
    pictures = torch.from_numpy(stored).permute(0, 3, 1, 2)
    middle = stored[0, SIZE // 2 : SIZE // 2 + SIZE, 24:40].transpose(2, 0, 1)
    np.testing.assert_array_equal(made.inputs(stored, False), (middle / np.float32(255) - MEAN) / DEVIATION)
    for seed in range(4):
        torch.manual_seed(seed)
        box = RandomResizedCrop.get_params(pictures, [0.08, 1.0], [3 / 4, 4 / 3])
        crop = tv.resized_crop(pictures, *box, [SIZE, SIZE], antialias=True)[0].numpy()
        crop = crop[..., ::-1] if torch.rand(1).item() < 0.5 else crop
        expected = (crop / np.float32(255) - MEAN) / DEVIATION
        np.testing.assert_allclose(drawn(made, stored, seed), expected, atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 8), (40, 90), (90, 40), (28, 28)])
def test_evaluation_shows_all_of_a_picture(height: int, width: int) -> None:
    """Each quarter of it covers a quarter of the input."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, (row, column) in enumerate(np.ndindex(2, 2), 1):
        rows, columns = (
            slice(place * side // 2, (place + 1) * side // 2) for place, side in ((row, height), (column, width))
        )
        pixels[rows, columns] = 60 * number
    made = front_end()
    x = made.inputs(made.decode(png(pixels), "a.png"), False)
    quarters = x.reshape(3, 2, 8, 2, 8).transpose(0, 1, 3, 2, 4).reshape(3, 4, 64)
    np.testing.assert_allclose(
        np.median(quarters, axis=-1), np.tile([60, 120, 180, 240], (3, 1)) / np.float32(255)
    )


def test_by_default_a_picture_is_moved_and_neither_cut_nor_mirrored() -> None:
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[5, 9] = 255
    made = front_end(shift=0.13)
    stored = made.decode(png(pixels), "a.png")
    seen = set()
    for seed in range(200):
        x = drawn(made, stored, seed)
        assert x.sum() == 3
        (_, row, column), *_ = np.argwhere(x == 1).tolist()
        seen.add((row - 5, column - 9))
    assert seen == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}


@pytest.mark.parametrize("options", [{}, {"crop_scale": (0.3, 1.0), "flip": 1.0}, {"resize": 20}])
def test_grey_pictures_stay_grey(options: dict[str, Any]) -> None:
    made = front_end(**options)
    stored = made.decode(png(noise()[..., 0]), "a.png")
    for x in (made.inputs(stored, False), drawn(made, stored, 0)):
        assert x.std() > 0.01
        assert np.array_equal(x[0], x[1])
        assert np.array_equal(x[0], x[2])


@pytest.mark.parametrize("normalize", ["none", "imagenet"])
def test_blank_is_a_black_picture(normalize: str) -> None:
    made = front_end(normalize=normalize)
    black = made.decode(png(np.zeros((9, 30, 3), np.uint8)), "a.png")
    expected = np.broadcast_to(made.blank, (3, SIZE, SIZE))
    assert made.blank.dtype == np.float32
    assert np.array_equal(made.inputs(black, False), expected)
    assert np.array_equal(drawn(made, black, 0), expected)
    assert made.blank.any() == (normalize == "imagenet")


@given(share=st.floats(0, 0.5), height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_what_a_shift_leaves_free_repeats_the_edge(share: float, height: int, width: int, seed: int) -> None:
    pixels = np.arange(2 * height * width).reshape(2, height, width)
    torch.manual_seed(seed)
    moved = shifted(pixels, share)
    margins = round(share * height), round(share * width)
    offsets = np.ndindex(2 * margins[0] + 1, 2 * margins[1] + 1)
    rows, columns = np.arange(height), np.arange(width)
    possible = (
        pixels[:, np.clip(rows + row - margins[0], 0, height - 1)][
            ..., np.clip(columns + column - margins[1], 0, width - 1)
        ]
        for row, column in offsets
    )
    assert any(np.array_equal(moved, each) for each in possible)


def test_settings_that_do_not_fit_are_refused() -> None:
    for options, says in (
        ({"resize": 3}, "resize 3: expected 4 to 4096 pixels, 'fit' or 'double'"),
        ({"resize": "twice"}, "resize"),
        ({"crop_scale": (0.5, 0.2)}, r"crop_scale 0\.5 to 0\.2"),
        ({"shift": 0.6}, "shift"),
    ):
        with pytest.raises(ValidationError, match=says):
            PictureConfig(**options)
    with pytest.raises(UserError, match=r"dataset\.resize = 12: smaller than model\.image_size 16"):
        front_end(resize=12)
    with pytest.raises(UserError, match=r"dataset\.frames = 5: the model has only 4 time steps"):
        front_end(frames=5)


def test_a_picture_is_turned_about_its_middle() -> None:
    """A bar keeps its centre; its direction and length tell the rotation and the magnification."""
    picture = np.zeros((1, 33, 33), np.float32)
    picture[:, 15:18, 8:25] = 1
    rows, columns = np.mgrid[:33, :33] - 16
    angles, lengths = [], []
    for seed in range(60):
        torch.manual_seed(seed)
        drawn = turned(picture, 30, 0.2)[0]
        weights = drawn / drawn.sum()
        assert abs((weights * rows).sum()) < 0.2
        assert abs((weights * columns).sum()) < 0.2
        spread = np.cov(np.stack([columns.ravel(), rows.ravel()]), aweights=weights.ravel(), ddof=0)
        values, vectors = np.linalg.eigh(spread)
        angles.append(np.degrees(np.arctan(vectors[1, 1] / vectors[0, 1])))
        lengths.append(np.sqrt(values[1] / (17**2 / 12)))
    assert -31 < min(angles) < -20 < 20 < max(angles) < 31
    assert 0.78 < min(lengths) < 0.88 < 1.12 < max(lengths) < 1.22


@pytest.mark.parametrize("shape", [(1, 24, 24), (2, 3, 17, 40)])
@pytest.mark.parametrize("seed", range(3))
def test_turning_is_torchvisions_affine(shape: tuple[int, ...], seed: int) -> None:
    pictures = np.random.default_rng(seed).random(shape, dtype=np.float32)
    torch.manual_seed(seed)
    found = turned(pictures, 30, 0.3)
    torch.manual_seed(seed)
    angle, scale = (2 * torch.rand(2) - 1).tolist()
    options: Any = {"translate": [0, 0], "shear": [0.0, 0.0], "interpolation": tv.InterpolationMode.BILINEAR}
    expected = tv.affine(torch.from_numpy(pictures), angle=30 * angle, scale=1 + 0.3 * scale, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_a_picture_that_is_not_turned_draws_nothing() -> None:
    picture, state = np.ones((1, 4, 4), np.float32), torch.get_rng_state()
    assert turned(picture, 0, 0) is picture
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(1, 20_000, 3), (20_000, 1, 3)])
def test_a_thin_picture_is_bounded(shape: tuple[int, ...]) -> None:
    data = png(np.full(shape, 9, np.uint8))
    assert front_end().decode(data, "a.png").shape == (1, SIZE, SIZE, 3)
    made = PictureFrontEnd(PictureConfig(resize="double"), ModelConfig(image_size=128))
    with pytest.raises(BadFileError, match=r"a.png: of \d+ x \d+ pixels, it would be stored with 1,310,720,000"):
        made.decode(data, "a.png")


def test_full_frames_of_a_video_are_not_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 1, frames=20, size=(640, 480))
    made = PictureFrontEnd(PictureConfig(frames=20), ModelConfig(image_size=SIZE, steps=20))
    made.decode(path, str(path))
    tracemalloc.start()
    try:
        assert made.decode(path, str(path)).shape == (20, SIZE, SIZE, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 640 * 480 * 3
