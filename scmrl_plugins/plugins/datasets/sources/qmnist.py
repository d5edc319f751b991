"""QMNIST's label files, which tell who wrote each of MNIST's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scmrl_plugins.plugins.datasets.media.idx import INTEGERS, find_idx, read_idx
from scmrl_plugins.registry import UserError

FOLDERS = (".", "qmnist", "QMNIST/raw", "mnist")
LABEL, SERIES, WRITER = 0, 1, 2
"""Columns; the others: number within the writer's digits, NIST's class and index, duplicate of, unused."""


def find_writers(root: Path, part: str, labels: np.ndarray) -> np.ndarray | str:
    """Series and writer of each image of MNIST's file ``part`` (``train`` or ``t10k``), int ``[n, 2]``.

    The rows of QMNIST's file match MNIST's in order (Yadav and Bottou 2019), which the ``labels`` ``[n]`` confirm.
    Where the file is missing: its name. Raises ``UserError`` for a damaged file or another order.
    """
    name = f"qmnist-{'test' if part == 't10k' else part}-labels"
    path = find_idx(root, FOLDERS, name, 2, "int")
    if path is None:
        return f"{name}-idx2-int.gz"
    table = read_idx(path, 2, INTEGERS)
    if table.shape[1] <= WRITER or not np.array_equal(table[: len(labels), LABEL], labels):
        raise UserError(f"{path}: its labels are not those of MNIST's {part} file; download both again")
    return table[: len(labels), [SERIES, WRITER]].astype(int)
