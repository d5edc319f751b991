"""Several training processes on this machine, started with torchrun's variables; an error is one line."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO

from scmrl_plugins.core.system.interrupts import SIGNALS, handling
from scmrl_plugins.registry import UserError

LAUNCHED = "SCMRL_LAUNCHED"
"""Environment variable of processes that ``Team`` started: their standard input ends when their parent does."""
PEER_FAILED = 75
"""Exit code of a process that ends because another one ended, which reports why."""
_GRACE = 5.0
"""Seconds between the first failure of a process and the end of the others, which may be about to report why."""


class Team:
    """``scmrl ARGUMENTS`` in ``count`` processes; ``wait()`` returns their exit code.

    The first process has the terminal; of the others only an error is printed. Ctrl-C and SIGTERM are forwarded to
    each of them once.
    """

    def __init__(self, count: int, arguments: Sequence[str]) -> None:
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from scmrl_plugins.cli import main; main(prog_name='scmrl')"
        )
        threads = str(max(1, (os.cpu_count() or 1) // count))
        defaults = {"OMP_NUM_THREADS": threads, "TORCH_CPP_LOG_LEVEL": "ERROR"}
        environment = {**defaults, **os.environ, LAUNCHED: "1", "WORLD_SIZE": str(count)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._held = contextlib.ExitStack()
        self._held.enter_context(handling(self._forward, *SIGNALS))
        files = [tempfile.TemporaryFile() for _ in range(1, count)]  # noqa: SIM115 - closed by ``wait``
        self.outputs: list[IO[bytes] | None] = [None, *map(self._held.enter_context, files)]
        for rank, file in enumerate(self.outputs):
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", program, *arguments],
                    env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,  # so that Ctrl-C reaches them only through this process
                )
            )

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> int:
        """Wait for all processes; if one fails, stop the others. ``UserError`` if one was killed."""
        try:
            deadline = float("inf")
            while None in (codes := [p.poll() for p in self.processes]) and time.monotonic() < deadline:
                if any(codes):
                    deadline = min(deadline, time.monotonic() + _GRACE)
                time.sleep(0.05)
            return self._outcome(codes)
        finally:
            self._end()

    def _outcome(self, codes: Sequence[int | None]) -> int:
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                raise UserError(
                    f"process {rank + 1} of {len(codes)} was ended by {signal.Signals(-code).name}, so the others "
                    f"were stopped; if it ran out of memory, make train.batch_size smaller; scmrl train RUN "
                    f"resumes from the last checkpoint"
                )
        for rank, code in enumerate(codes):
            if code and code != PEER_FAILED:
                self._print(rank, code)
                return code
        return next((code for code in codes if code), 0)

    def _print(self, rank: int, code: int) -> None:
        """Print the output of a process without the terminal: of a user's error, code 2, the last line."""
        file = self.outputs[rank]
        if file is None or code == 130:
            return
        file.seek(0)
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
        print("\n".join(lines[-1:] if code == 2 else lines), file=sys.stderr)

    def _end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        self._held.close()


def count() -> int:
    """The number of processes of this training."""
    return int(os.environ.get("WORLD_SIZE", 1))


def first() -> bool:
    """Whether this is the first process, which writes files and prints."""
    return int(os.environ.get("RANK", 0)) == 0


def watch_parent() -> None:
    """Send this process SIGTERM when the process that launched it ends."""
    if os.environ.get(LAUNCHED):
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
