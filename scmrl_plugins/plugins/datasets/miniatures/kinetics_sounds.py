"""A miniature of Kinetics-Sounds."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip

LABELS = (0, 7, 30)
"""Indices of blowing_nose, playing_accordion and tickling, of 31."""


def write_kinetics_sounds(root: Path, train: int = 5, test: int = 1) -> None:
    """``clips/<id>_<start>_<end>.mp4``, and both lists in OGM-GE's formats, which differ."""
    lines: dict[str, list[str]] = {"my_train.txt": [], "my_test.txt": []}
    for label in LABELS:
        for index in range(train + test):
            number = (train + test) * label + index
            video, start = f"_k-{number:08d}", 3 * index
            padded = f"{video}_{start:06d}_{start + 10:06d}"
            write_clip(root / "clips" / f"{padded}.mp4", number)
            if index < train:
                lines["my_train.txt"].append(f"{padded},10,{label}")
            else:
                lines["my_test.txt"].append(f"{video}_{start},10,{label}")
    for name, rows in lines.items():
        (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
