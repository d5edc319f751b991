"""One trial of a sweep, in whichever process and machine runs it: an ordinary run, gone on with where it was."""

from __future__ import annotations

import contextlib
import gc
import os
import tomllib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.run import environment, series
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import allocator, devices, files, jsonable
from scmrl_plugins.core.system.memory import out_of_memory
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError, catalogue, register_file
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.sweep.sweep import Place, Trial

Task = Mapping[str, Any]
Report = Callable[[Mapping[str, Any]], None]

PATIENCE = 60.0
"""Seconds to wait for the process that had a trial before, which may be dying still."""


def task_of(
    trial: Trial,
    place: Place,
    device: str,
    threads: int,
    hidden: bool,
    after_run: Callable[[Run], None] | None = None,
) -> Task:
    """All that another process needs to know. ``hidden``: it is to see no GPU."""
    return {
        "name": trial.name,
        "settings": trial.settings,
        "config": layers.to_toml(trial.config),
        "out": str(place.path.resolve()),
        "folder": str(Path.cwd()),
        "device": device,
        "threads": threads,
        "hidden": hidden,
        "after_run": after_run,
        "plugins": catalogue().inline_files(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("SCMRL_")},
    }


def work(task: Task, report: Report) -> None:
    """Train a trial to its end and write its result, or why there is none; nothing where there is a result.

    ``report`` gets the figures of each epoch trained here. What goes wrong is no error of the caller's.
    """
    place, name = Place(Path(task["out"])), task["name"]
    place.log_file(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.lock_file(name), timeout=PATIENCE), place.log_file(name).open("a", buffering=1) as log:
            if not place.result_file(name).exists():
                _attempt(task, place, report, Console(file=log, width=120))
    except Timeout:
        place.fail(name, "another process trains it; wait for it or stop it")


def _attempt(task: Task, place: Place, report: Report, log: Console) -> None:
    name = task["name"]
    try:
        _settle(task)
        with Progress(log) as progress:
            _train(task, place, report, progress)
        place.failure_file(name).unlink(missing_ok=True)
    except (Exception, SystemExit) as error:  # a stranger's component may raise anything
        if not isinstance(error, UserError):
            log.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
        place.fail(name, reason(error))
    finally:
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # the next trial may be trained in this process


def _settle(task: Task) -> None:
    """Make this process like the one that the sweep was started in."""
    os.environ.update(task["environment"])
    if task["hidden"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        os.chdir(task["folder"])
    except OSError as error:
        raise UserError(
            f"{task['folder']}: {error.strerror} on this machine; start the sweep from a folder that all machines "
            f"share"
        ) from None
    allocator.keep_large_blocks()
    torch.set_num_threads(task["threads"])
    known = {plugin.file for plugin in catalogue().plugins}
    for file in task["plugins"]:
        if file not in known:
            register_file(file)


def _train(task: Task, place: Place, report: Report, progress: Progress) -> None:
    layer = layers.Layer(task["name"], tomllib.loads(task["config"]))
    parts = assembly.assemble(layers.compose(layers=[layer]))
    device = devices.resolve(task["device"])
    training = Training(parts, device, progress)
    run = series.take_run(place.run(task["name"]).path, parts)
    training.fit(run, after_epoch=report)
    if task["after_run"]:
        task["after_run"](run)
    lines = run.metrics()
    tested = next(line for line in reversed(lines) if line.get("split") == "test")
    epochs = [line for line in lines if "epoch" in line]
    best = next(line for line in epochs if line["epoch"] == tested["best_epoch"])
    result = {
        "trial": task["name"],
        "settings": task["settings"],
        "validation_accuracy": best["validation_accuracy"],
        "validation_loss": best["validation_loss"],
        "test_accuracy": tested["accuracy"],
        "test_loss": tested["loss"],
        "n": tested["n"],
        "best_epoch": tested["best_epoch"],
        "protocol": tested["protocol"],
        "epochs": epochs,
        "device": str(device),
        "environment": environment.describe(parts.config),
        "config": series.plain(parts.config),
    }
    files.write_text(place.result_file(task["name"]), jsonable.dumps(result, indent=2) + "\n")


def reason(error: BaseException) -> str:
    """Why a trial came to nothing, in one line."""
    if isinstance(error, UserError):
        return str(error)
    if out_of_memory(error):
        return "not enough memory: make train.batch_size or the model smaller, or let fewer trials run at once"
    return catalogue().culprit(error) or describe(error)


def threads(cpus: int) -> int:
    """Threads of a trial that has so many cores; what ``OMP_NUM_THREADS`` says comes first."""
    with contextlib.suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    return cpus
