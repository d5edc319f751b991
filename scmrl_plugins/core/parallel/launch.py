"""Several processes of one training on this machine, started as ``torchrun`` does, with one line for an error."""

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

PARENT = "SCMRL_LAUNCHED"
"""Set in the processes started here, whose standard input ends when their parent does."""
LOST = 75
"""The exit code of a process that ends because another one did, whose story that is."""
_SECONDS = 5.0
"""Between the first process that ends badly and the end of the others: some are about to say why."""


class Team:
    """``scmrl ARGUMENTS`` in ``count`` processes; ``wait()`` is their exit code.

    The first has the terminal, of the others an error is shown. Signals that ask to end go to all of them once.
    """

    def __init__(self, count: int, arguments: Sequence[str]) -> None:
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from scmrl_plugins.cli import main; main(prog_name='scmrl')"
        )
        threads = str(max(1, (os.cpu_count() or 1) // count))
        defaults = {"OMP_NUM_THREADS": threads, "TORCH_CPP_LOG_LEVEL": "ERROR"}
        surroundings = {**defaults, **os.environ, PARENT: "1", "WORLD_SIZE": str(count)}
        surroundings |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._held = contextlib.ExitStack()
        self._held.enter_context(handling(self._forward, *SIGNALS))
        # Open as long as the processes are there: ``wait`` closes what is held.
        others = [tempfile.TemporaryFile() for _ in range(1, count)]  # noqa: SIM115
        self.said: list[IO[bytes] | None] = [None, *map(self._held.enter_context, others)]
        for rank, said in enumerate(self.said):
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", program, *arguments],
                    env=surroundings | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,  # so that Ctrl-C reaches them once, through this process
                )
            )

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> int:
        """Until all have ended, or one has ended badly and the others with it.

        Raises ``UserError`` where one was killed.
        """
        try:
            last = float("inf")
            while None in (codes := [process.poll() for process in self.processes]) and time.monotonic() < last:
                if any(codes):
                    last = min(last, time.monotonic() + _SECONDS)
                time.sleep(0.05)
            return self._outcome(codes)
        finally:
            self._end()

    def _outcome(self, codes: Sequence[int | None]) -> int:
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                raise UserError(
                    f"process {rank + 1} of {len(codes)} was ended by {signal.Signals(-code).name}, the others "
                    f"with it; if that was for want of memory, make train.batch_size smaller; "
                    f"scmrl train RUN goes on from its last checkpoint"
                )
        for rank, code in enumerate(codes):
            if code and code != LOST:
                self._show(rank, code)
                return code
        return next((code for code in codes if code), 0)

    def _show(self, rank: int, code: int) -> None:
        """What a process without the terminal said before it ended badly: its last line where that is an error."""
        file = self.said[rank]
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
    """How many processes this one is among, whoever started them."""
    return int(os.environ.get("WORLD_SIZE", 1))


def first() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", 0)) == 0


def watch_parent() -> None:
    """End as by SIGTERM, after the step at hand, when the process that launched this one is no more."""
    if os.environ.get(PARENT):
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
