"""Training runs in child processes that a test can kill: ``python forked_training.py SCRIPT``.

Everything is imported once, by a process that never computes; each run is a fork of it, so a run that is killed
30 times costs seconds. SCRIPT is JSON lines ``{"run", "sets", "kill_after", "signal", "slow_saves"}``; for each, a
line ``{"code", "seconds", "error"}`` comes back, where the code of a killed run is minus the signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from blob_data import ENTRY
from rich.console import Console

from scmrl_plugins.core import assembly, compose, files, training
from scmrl_plugins.core.progress import Progress
from scmrl_plugins.core.run import Run, create_run
from scmrl_plugins.registry import UserError, catalogue


def train(wanted: dict[str, Any]) -> int:
    """Train a run to its end, as the command does; 0, or 2 for what a user can mend, or 130."""
    path = Path(wanted["run"])
    torch.set_num_threads(1)
    if wanted.get("slow_saves"):
        slow_saves(float(wanted["slow_saves"]))
    if "largest_file" in wanted:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["largest_file"], wanted["largest_file"]))
    try:
        if (path / "config.toml").exists():
            run = Run(path)
            parts = run.assemble()
        else:
            layer = compose.Layer("the test", {"dataset": {"name": "blobs"}})
            parts = assembly.assemble(compose.compose(layers=[layer], sets=wanted.get("sets", [])))
            run = create_run(path, parts)
        with Progress(Console(file=sys.stderr)) as progress:
            training.train(run, parts, torch.device("cpu"), progress)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def slow_saves(seconds: float) -> None:
    """Let every file lie about under its temporary name, so that many a kill comes in a save."""
    fsync = os.fsync

    def slow(handle: int) -> None:
        time.sleep(seconds / 2)
        fsync(handle)
        time.sleep(seconds / 2)

    files.os.fsync = slow  # type: ignore[attr-defined]


def child(wanted: dict[str, Any]) -> dict[str, Any]:
    """Fork, train there, and send the signal after the time asked for."""
    started = time.monotonic()
    out = Path(f"{wanted['run']}.stderr")
    pid = os.fork()
    if pid == 0:
        with out.open("w") as errors:
            os.dup2(errors.fileno(), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            code = 1
            try:
                code = train(wanted)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(code)
    status = None
    number = getattr(signal, wanted.get("signal", "SIGKILL"))
    after = wanted.get("kill_after")
    while status is None:
        done, state = os.waitpid(pid, os.WNOHANG)
        if done:
            status = state
        elif after is not None and time.monotonic() - started >= after:
            os.kill(pid, number)
            _, status = os.waitpid(pid, 0)
        else:
            time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "seconds": time.monotonic() - started, "error": out.read_text()}


if __name__ == "__main__":
    catalogue().entries = [*catalogue().entries, ENTRY]
    for line in sys.stdin:
        print(json.dumps(child(json.loads(line))), flush=True)
