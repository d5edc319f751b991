"""MNIST in its own layout: finding the files, and dividing the images among the splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scmrl_plugins.plugins.datasets.files.splits import stratified
from scmrl_plugins.plugins.datasets.media.idx import read_idx
from scmrl_plugins.registry import UserError

FOLDERS = (".", "mnist", "MNIST/raw")
SIZE = 28
VALIDATION_SHARE = 0.1
SHARES = (0.6, 0.15, 0.25)
"""Shares of the test file for training, validation and test, where the training files are missing."""


def load_mnist(root: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Images uint8 ``[n, 28, 28]``, labels ``[n]``, and the indices of each split.

    With the training files at hand, a tenth of them is for validation and the test file is the test; with the
    test file alone, its images are divided, within each class. Raises ``UserError`` if files are missing
    or damaged.
    """
    test_images, test_labels = _pair(root, "t10k") or (None, None)
    train_images, train_labels = _pair(root, "train") or (None, None)
    if test_images is None or test_labels is None:
        raise UserError(
            f"{root}: no MNIST test images; looked for t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte "
            f"(also with .gz, also .idx3-ubyte) in {', '.join(str(root / folder) for folder in FOLDERS)}; "
            f"put them there or set dataset.root"
        )
    if train_images is None or train_labels is None:
        parts = stratified(test_labels, SHARES, rng)
        return test_images, test_labels, dict(zip(("train", "validation", "test"), parts, strict=True))
    train, validation = stratified(train_labels, (1.0 - VALIDATION_SHARE, VALIDATION_SHARE), rng)
    return (
        np.concatenate([train_images, test_images]),
        np.concatenate([train_labels, test_labels]),
        {
            "train": train,
            "validation": validation,
            "test": len(train_labels) + np.arange(len(test_labels)),
        },
    )


def _pair(root: Path, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels of ``train`` or ``t10k``; none where neither file exists."""
    images_at, labels_at = _find(root, part, "images", 3), _find(root, part, "labels", 1)
    if images_at is None and labels_at is None:
        return None
    if images_at is None or labels_at is None:
        there, lacks = (images_at, "labels") if images_at else (labels_at, "images")
        raise UserError(f"{there}: the {lacks} that belong to it are missing; put {part}-{lacks} beside it")
    images, labels = read_idx(images_at, 3), read_idx(labels_at, 1)
    if images.shape[1:] != (SIZE, SIZE):
        raise UserError(
            f"{images_at}: images of {images.shape[2]}x{images.shape[1]} pixels, MNIST has {SIZE}x{SIZE}; "
            f"set dataset.root to a copy of MNIST"
        )
    if len(images) != len(labels):
        raise UserError(
            f"{labels_at}: {len(labels)} labels for the {len(images)} images of {images_at.name}; "
            f"download both again"
        )
    if len(labels) and labels.max() > 9:
        raise UserError(f"{labels_at}: label {labels.max()} is not a digit; download it again")
    return images, labels


def _find(root: Path, part: str, what: str, dimensions: int) -> Path | None:
    for folder in FOLDERS:
        for joint in ("-", "."):
            for ending in ("", ".gz"):
                path = root / folder / f"{part}-{what}{joint}idx{dimensions}-ubyte{ending}"
                if path.is_file():
                    return path
    return None
