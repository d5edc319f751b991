"""Training runs in child processes that a test can kill.

Everything is imported once, by a process that never computes; each run is a fork of it, so a run that is killed
30 times costs seconds. It is sent dictionaries ``{"run", "sets", "options", "kill_after", "signal", "slow_saves",
"processes", "further"}``; for each, ``{"code", "seconds", "error"}`` comes back, where the code of a killed run is
minus the signal. Several processes train together, and all are sent the signal. ``further`` has the settings of
runs beside it, by name, which the same processes train next.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from blob_data import ENTRY
from rich.console import Console

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training import loop
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
        known = (path / "config.toml").exists()
        if known:
            parts = Run(path).assemble()
        else:
            layer = layers.Layer("the test", {"dataset": {"name": "blobs"}, "fusion": {"name": "late"}})
            parts = assembly.assemble(
                layers.compose(layers=[layer], options=wanted.get("options", {}), sets=wanted.get("sets", []))
            )
        with Progress(Console(file=sys.stderr)) as progress:
            trainer = loop.Training(parts, torch.device("cpu"), progress, with_contribution=False)
            trainer.prepare()
            if not known and trainer.processes.main:
                create_run(path, parts)
            trainer.processes.barrier()
            if "further" in wanted:  # they train in the same group of processes
                trainer.accelerator.end_training = lambda: None
            trainer.fit(Run(path))
        further = dict(wanted.get("further", {}))
        if further:
            name = next(iter(further))
            following = {**wanted, "run": path.parent / name, "sets": further.pop(name), "further": further}
            return train(following)
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


def child(wanted: dict[str, Any], rank: int, surroundings: dict[str, str], out: Path) -> int:
    """Fork and train there; the process's number."""
    if pid := os.fork():
        return pid
    os.environ.update(surroundings | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if surroundings else {})
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


def children(wanted: dict[str, Any]) -> dict[str, Any]:
    """Train in one process or several, send them the signal after the time asked for, and say how they ended."""
    started = time.monotonic()
    count = wanted.get("processes", 1)
    surroundings = {}
    if count > 1:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = str(listening.getsockname()[1])
        surroundings = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    outs = [Path(f"{wanted['run']}.stderr{rank or ''}") for rank in range(count)]
    running = {child(wanted, rank, surroundings, out): rank for rank, out in enumerate(outs)}
    codes: dict[int, int] = {}
    number = getattr(signal, wanted.get("signal", "SIGKILL"))
    after = wanted.get("kill_after")
    while running:
        for pid in list(running):
            done, state = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[running.pop(pid)] = os.waitstatus_to_exitcode(state)
        if after is not None and time.monotonic() - started >= after:
            for pid in running:
                os.kill(pid, number)
            after = None
        time.sleep(0.002)
    code = min(codes.values()) if min(codes.values()) < 0 else max(codes.values())
    errors = "".join(out.read_text() for out in outs)
    return {"code": code, "seconds": time.monotonic() - started, "error": errors}


def serve(connection: Connection) -> None:
    """Answer until the other end is closed."""
    catalogue().entries = [*catalogue().entries, ENTRY]
    while True:
        try:
            wanted = connection.recv()
        except EOFError:
            return
        connection.send(children(wanted))
