"""Resizing and translation, the same for spectrograms and images."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def resize(array: np.ndarray, size: int, width: int | None = None) -> np.ndarray:
    """``[..., H, W]`` to float32 ``[..., size, width]``, by default square: bilinear between pixel centres.

    Where an axis shrinks, the triangle filter widens with it (antialiasing): a spectrogram of 129 bins
    resized to 28 rows averages all of its bins instead of reading every fourth or fifth.
    """
    grid = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).reshape(-1, 1, *array.shape[-2:])
    shape = (size, width or size)
    shrunk = F.interpolate(grid, size=shape, mode="bilinear", align_corners=False, antialias=True)
    return shrunk.reshape(*array.shape[:-2], *shape).numpy()


def moved(array: np.ndarray, axis: int, cells: int) -> np.ndarray:
    """``y[i] = x[i + cells]`` along an axis; what moves in repeats the edge."""
    return array.take(np.arange(array.shape[axis]) + cells, axis, mode="clip")
