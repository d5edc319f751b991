"""A small grid on the data set of the tests."""

from __future__ import annotations

from pathlib import Path

FILE = """
[dataset]
name = "blobs"

[train]
epochs = 2

[grid]
seeds = [3, 4]

[[method]]
name = "late"
fusion.name = "late"

[[method]]
name = "spatial"
fusion = { name = "cmrl", attention = "spatial" }
neuron.threshold = 0.25

[[condition]]
name = "noisy"
noise = { audio = -20 }

[[condition]]
name = "nothing"
dropped = ["audio", "visual"]
"""


def write(folder: Path, text: str = FILE) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path
