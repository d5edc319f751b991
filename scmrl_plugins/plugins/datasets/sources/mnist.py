"""MNIST in its own layout: finding the files, and dividing the images among the splits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import SPLITS
from scmrl_plugins.plugins.datasets.files.splits import stratified
from scmrl_plugins.plugins.datasets.media.idx import find_idx, read_idx
from scmrl_plugins.plugins.datasets.sources.qmnist import find_writers
from scmrl_plugins.plugins.datasets.sources.spoken import dealt, split_of
from scmrl_plugins.registry import UserError

FOLDERS = (".", "mnist", "MNIST/raw")
SIZE = 28
VALIDATION_SHARE = 0.1
SHARES = (0.6, 0.15, 0.25)
"""Shares of the test file for training, validation and test, where the training files are missing."""


@dataclass(frozen=True)
class Mnist:
    """Images uint8 ``[n, 28, 28]`` and labels ``[n]``: of the training file, if it is there, and of the test file.

    ``trained``: how many are of the training file. ``writers`` and ``series``: ``[n]``, none where QMNIST's labels
    are missing.
    """

    images: np.ndarray
    labels: np.ndarray
    trained: int
    writers: np.ndarray | None = None
    series: np.ndarray | None = None

    def by_picture(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The indices of each split.

        With the training files at hand, a tenth of them is for validation and the test file is the test; with the
        test file alone, its images are divided, within each class.
        """
        if not self.trained:
            return dict(zip(SPLITS, stratified(self.labels, SHARES, rng), strict=True))
        shares = (1.0 - VALIDATION_SHARE, VALIDATION_SHARE)
        train, validation = stratified(self.labels[: self.trained], shares, rng)
        return {"train": train, "validation": validation, "test": np.arange(self.trained, len(self.labels))}

    def by_writer(self, fold: int) -> dict[str, np.ndarray]:
        """The indices of each split, no writer in two and each in the test of one fold; depends on no seed.

        The sorted writers of each series of NIST's forms are dealt to five groups in turn; fold k tests on
        group k and validates on group k + 1. Images of both files count, so that with MNIST's training file its
        test file is divided too.
        """
        if self.writers is None or self.series is None:
            raise ValueError("the writers are not known")
        split = np.empty(len(self.labels), dtype=object)
        for series in np.unique(self.series):
            members = self.series == series
            groups = dealt(self.writers[members].tolist())
            split[members] = [split_of(groups[writer], fold) for writer in self.writers[members]]
        return {name: np.flatnonzero(split == name) for name in SPLITS}


def load_mnist(root: Path) -> Mnist:
    """MNIST without writers. Raises ``UserError`` if files are missing or damaged."""
    test = _pair(root, "t10k")
    if test is None:
        raise UserError(
            f"{root}: no MNIST test images; looked for t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte "
            f"(also with .gz, also .idx3-ubyte) in {', '.join(str(root / folder) for folder in FOLDERS)}; "
            f"put them there or set dataset.root"
        )
    train = _pair(root, "train")
    if train is None:
        return Mnist(*test, trained=0)
    images, labels = (np.concatenate(both) for both in zip(train, test, strict=True))
    return Mnist(images, labels, trained=len(train[1]))


def with_writers(mnist: Mnist, root: Path) -> Mnist | str:
    """MNIST with the writers of QMNIST's labels; the name of the label file that is missing, if one is."""
    parts = {"train": mnist.labels[: mnist.trained], "t10k": mnist.labels[mnist.trained :]}
    tables = []
    for part, labels in parts.items():
        if len(labels):
            table = find_writers(root, part, labels)
            if isinstance(table, str):
                return table
            tables.append(table)
    series, writers = np.concatenate(tables).T
    return dataclasses.replace(mnist, writers=np.array([f"{writer:04d}" for writer in writers]), series=series)


def _pair(root: Path, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels of ``train`` or ``t10k``; none where neither file exists."""
    images_at = find_idx(root, FOLDERS, f"{part}-images", 3, "ubyte")
    labels_at = find_idx(root, FOLDERS, f"{part}-labels", 1, "ubyte")
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
