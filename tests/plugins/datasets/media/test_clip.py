"""Clips: what is seen at a step is heard at that step, whatever the file's time stamps are."""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from clips import clip, even
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.core.interfaces import ModelConfig, RepairedFileWarning
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.plugins.datasets.files.window import Window, split_window

STEPS = 8


def stored(data: bytes, name: str = "a.mp4", **options: Any) -> tuple[AVFolder, dict[str, np.ndarray]]:
    """The data set, and what it stores of a clip."""
    config = AVFolder.Config(classes=("a", "b"), sample_rate=16_000, **{"align": "step", **options})
    dataset = AVFolder(config, ModelConfig(steps=STEPS, image_size=16))
    cell = {"bytes": data, "path": name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        found = dataset.transform({"audio": [cell], "visual": [cell]})
    return dataset, {modality: arrays[0] for modality, arrays in found.items()}


def steps(inputs: dict[str, np.ndarray]) -> tuple[int, int]:
    """The step of the flash and that of the beep."""
    return int(inputs["visual"].mean((1, 2, 3)).argmax()), int(inputs["audio"].max((1, 2, 3)).argmax())


def seen_and_heard(data: bytes, name: str = "a.mp4", **options: Any) -> tuple[int, int]:
    dataset, arrays = stored(data, name, **options)
    return steps(dataset.inputs(arrays, False))


LATE = even(start=1.3)
UNEVEN = [*np.arange(0, 1.5, 0.25), *np.arange(1.5, 3.2, 0.04), *np.arange(3.3, 4.0, 0.3)]


@pytest.mark.parametrize(
    ("options", "span"),
    [
        ({}, (0, 4)),
        ({"b_frames": 2}, (0, 4)),
        ({"rate": Fraction(30_000, 1001), "times": even(30_000 / 1001)}, (0, 4)),
        ({"times": UNEVEN}, (0, 4)),
        ({"format": "mov"}, (0, 4)),
        ({"format": "matroska"}, (0, 4)),
        ({"format": "matroska", "times": UNEVEN}, (0, 4)),
        ({"format": "flv", "codecs": ("flv", "aac")}, (0, 4)),
        ({"format": "mpeg", "codecs": ("mpeg1video", "mp2")}, (0, 4)),
        ({"format": "avi", "codecs": ("mpeg4", "libmp3lame")}, (0, 4)),
        ({"format": "avi", "codecs": ("mpeg4", "libmp3lame"), "b_frames": 2}, (0, 4)),
        # The file starts with its earliest stream and ends with its latest.
        ({"times": LATE}, (0, 5.3)),
        ({"times": LATE, "format": "matroska"}, (0, 5.3)),
        ({"sound": (1.3, 5.3)}, (0, 5.3)),
        ({"times": LATE, "sound": (1.3, 5.3), "format": "matroska"}, (1.3, 4)),
    ],
)
def test_the_step_that_sees_the_flash_hears_the_beep(options: dict[str, Any], span: tuple[float, float]) -> None:
    start, seconds = span
    data = clip(start + seconds * 5.5 / STEPS, **options)
    ending = {"matroska": "mkv", "mpeg": "mpg"}.get(kind := options.get("format", "mp4"), kind)
    assert seen_and_heard(data, f"a.{ending}") == (5, 5)


@given(path=st.text(min_size=1), start=st.floats(0, 1e5), seconds=st.none() | st.floats(1e-3, 1e5))
def test_a_path_with_a_window_is_split_again(path: str, start: float, seconds: float | None) -> None:
    name, window = split_window(Window(start, seconds).of(path))
    assert window
    assert name == path
    assert (window.start, window.end) == pytest.approx((start, start + seconds if seconds else float("inf")))
