"""Files of small sweeps, and their trials trained in this process."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.sweep import prepare, worker
from scmrl_plugins.sweep.directory import SweepDirectory
from scmrl_plugins.sweep.sweep import Sweep, read_sweep

FILE = """
[dataset]
name = "blobs"

[train]
epochs = 2

[space]
train.lr = [0.01, 0.02]
"neuron.threshold" = [0.25, 0.3]
"""
RANDOM = """
[dataset]
name = "blobs"

[sweep]
search = "random"
trials = 6

[space]
"train.lr" = { log_uniform = [1e-4, 1e-2] }
"train.batch_size" = { integer = [4, 16] }
"train.weight_decay" = { uniform = [0.0, 0.1] }
"fusion.name" = ["late", "cmrl"]
"""


def write(folder: Path, text: str = FILE) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def read(folder: Path, text: str = FILE, *sets: str) -> Sweep:
    return read_sweep(write(folder, text), sets)


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO(), width=200))


def claim(sweep: Sweep, out: Path) -> SweepDirectory:
    directory, trials = SweepDirectory(out), sweep.trials()
    configs = prepare.check(trials, quiet())
    with directory.locked():
        directory.claim(sweep, trials, configs)
    return directory


def work(sweep: Sweep, out: Path) -> SweepDirectory:
    """Every trial in this process, one after the other, as the processes of a sweep train them."""
    directory = claim(sweep, out)
    for trial in sweep.trials():
        worker.work(worker.Task.of(trial, directory, "cpu", 1, True))
    return directory
