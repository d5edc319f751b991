"""Small grids on the data sets of the tests."""

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

SMALL = FILE.replace("seeds = [3, 4]", "seeds = [3]")

TASKS = """
[dataset]
name = "tasks"
spread = 0.8

[train]
epochs = 2

[grid]
seeds = [3]
folds = [0, 1]
references = ["late"]
tuning = "none"

[[task]]
name = "same"
dataset.task = "same"

[[task]]
name = "match"
dataset.task = "match"
conditions = []

[[task]]
name = "sum"
dataset.task = "sum"
conditions = []

[[task]]
name = "select"
dataset.task = "select"
conditions = []

[[baseline]]
name = "chance"

[[baseline]]
name = "linear"

[[baseline]]
name = "experts"
kind = "pipeline"
of = { audio = "same/audio", visual = "same/visual" }

[[method]]
name = "audio"
tasks = ["same"]
fusion.name = "audio"

[[method]]
name = "visual"
tasks = ["same"]
fusion.name = "visual"

[[method]]
name = "late"
pretrained = { audio = "same/audio", visual = "same/visual" }
train.freeze = ["audio", "visual"]
fusion.name = "late"

[[condition]]
name = "noisy"
noise = { audio = -5 }
"""


def write(folder: Path, text: str = FILE) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path
