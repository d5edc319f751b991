"""One trial of a sweep, in any process on any machine: an ordinary run, resumed where it stopped."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.run import environment, series
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import allocator, devices, files
from scmrl_plugins.core.system.interrupts import handling, interrupt
from scmrl_plugins.core.system.memory import out_of_memory
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError, catalogue, register_file
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.sweep.directory import SweepDirectory
from scmrl_plugins.sweep.sweep import Trial

PATIENCE = 60.0
"""Seconds to wait for the lock of a trial, whose last process may still be dying."""


@dataclass(frozen=True)
class Task:
    """All that another process needs to know of a trial."""

    trial: Trial
    directory: SweepDirectory
    folder: Path
    """The working directory."""
    device: str
    threads: int
    hide_gpus: bool
    plugins: Sequence[str]
    """Files of plugins that are not installed."""
    environment: Mapping[str, str]
    after_run: Callable[[Run], None] | None

    @classmethod
    def of(
        cls,
        trial: Trial,
        directory: SweepDirectory,
        device: str,
        threads: int,
        hide_gpus: bool,
        after_run: Callable[[Run], None] | None = None,
    ) -> Task:
        """The task of a trial, to be worked on as if in this process."""
        return cls(
            trial=trial,
            directory=SweepDirectory(directory.path.resolve()),
            folder=Path.cwd(),
            device=device,
            threads=threads,
            hide_gpus=hide_gpus,
            plugins=catalogue().inline_files(),
            environment={name: value for name, value in os.environ.items() if name.startswith("SCMRL_")},
            after_run=after_run,
        )


def work(task: Task) -> None:
    """Train a trial to its end and write its result, or why it failed; nothing if it has a result.

    Errors of the trial are recorded, not raised.
    """
    directory, name = task.directory, task.trial.name
    directory.log_file(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            FileLock(directory.lock_file(name), timeout=PATIENCE),
            directory.log_file(name).open("a", buffering=1) as log,
        ):
            if not directory.result_file(name).exists():
                _attempt(task, Console(file=log, width=120))
    except Timeout:
        directory.fail(name, "another process trains it; wait for it or stop it")


def _attempt(task: Task, log: Console) -> None:
    name = task.trial.name
    try:
        # Ray would end a process whose driver is killed by SystemExit: that is no failure of the trial.
        with handling(interrupt, signal.SIGTERM), Progress(log) as progress:
            _set_up(task)
            _train(task, progress)
        task.directory.failure_file(name).unlink(missing_ok=True)
    except (Exception, SystemExit) as error:  # a component of a plugin may raise anything
        if not isinstance(error, UserError):
            log.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
        task.directory.fail(name, reason(error))
    finally:
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # the next trial may be trained in this process


def _set_up(task: Task) -> None:
    """Make this process like the one that started the sweep."""
    os.environ.update(task.environment)
    if task.hide_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        os.chdir(task.folder)
    except OSError as error:
        raise UserError(
            f"{task.folder}: {error.strerror} on this machine; start the sweep from a folder that all machines "
            f"share"
        ) from None
    allocator.keep_large_blocks()
    torch.set_num_threads(task.threads)
    registered = {plugin.file for plugin in catalogue().plugins}
    for file in task.plugins:
        if file not in registered:
            register_file(file)


def _train(task: Task, progress: Progress) -> None:
    trial = task.trial
    parts = assembly.assemble(trial.config)
    device = devices.resolve(task.device)
    training = Training(parts, device, progress)
    training.prepare()
    run = series.take_run(task.directory.run(trial.name).path, training.parts)
    training.fit(run)
    if task.after_run:
        task.after_run(run)
    lines = run.metrics()
    tested = next(line for line in reversed(lines) if line.get("split") == "test")
    epochs = [line for line in lines if "epoch" in line]
    best = next(line for line in epochs if line["epoch"] == tested["best_epoch"])
    result = {
        "trial": trial.name,
        "settings": trial.settings,
        **{f"validation_{name}": value for name, value in metrics.scalars(best, "validation_").items()},
        **{f"test_{name}": value for name, value in metrics.scalars(tested).items()},
        "n": tested["n"],
        "best_epoch": tested["best_epoch"],
        "protocol": tested["protocol"],
        "epochs": epochs,
        "device": str(device),
        "environment": environment.describe(parts.config),
        "config": series.plain(parts.config),
    }
    files.write_json(task.directory.result_file(trial.name), result)


def reason(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    if isinstance(error, UserError):
        return str(error)
    if out_of_memory(error):
        return "not enough memory: make train.batch_size or the model smaller, or let fewer trials run at once"
    return catalogue().culprit(error) or describe(error)


def threads(cpus: int) -> int:
    """Threads of a trial with ``cpus`` cores; ``OMP_NUM_THREADS`` takes precedence."""
    with contextlib.suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    return cpus
