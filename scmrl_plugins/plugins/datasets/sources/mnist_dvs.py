"""MNIST-DVS in its own layout: MNIST digits that moved in front of an event camera, in AEDAT files."""

from __future__ import annotations

import re
from pathlib import Path

from scmrl_plugins.core.interfaces import BadFileError

# A digit takes about 7 pixels a unit of scale, and its middle moves by up to 10 (the data set's process_mnist.m).
WINDOWS = {4: 40, 8: 72, 16: 128}
"""Pixels in the middle of the sensor that show a digit of each scale, wherever it moves."""
_NAME = re.compile(r"mnist_([0-9])_scale(04|08|16)_([0-9]+)")


def find_recordings(files: list[Path], scale: int, bad: list[BadFileError]) -> list[list[Path]]:
    """The recordings of a scale among some files, by digit, in the order of their numbers.

    There are 30,000 files ``mnist_<digit>_scale<04|08|16>_<number>.aedat``. An AEDAT file with another name, and a
    second copy of a recording, go to ``bad``.
    """
    by_number: dict[tuple[int, int], list[Path]] = {}
    for path in files:
        if path.suffix.lower() != ".aedat":
            continue
        match = _NAME.fullmatch(path.stem)
        if match is None:
            reason = "not named mnist_<digit>_scale<04|08|16>_<number>.aedat; rename it or move it elsewhere"
            bad.append(BadFileError(path, reason))
        elif int(match[2]) == scale:
            by_number.setdefault((int(match[1]), int(match[3])), []).append(path)
    digits: list[list[Path]] = [[] for _ in range(10)]
    for (digit, _), paths in sorted(by_number.items()):
        if len(paths) > 1:
            bad.append(BadFileError(paths[1], f"is the same recording as {paths[0]}; remove one of them"))
        else:
            digits[digit] += paths
    return digits
