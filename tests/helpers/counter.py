"""An object for another process, which imports it from here by its plain name."""

from __future__ import annotations

import os
import signal

from scmrl_plugins.registry import UserError


class Counter:
    """What the tests hold in another process."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise UserError("a counter starts at 0")
        self.value = start

    def add(self, n: int = 1) -> int:
        print("noise on standard output")
        self.value += n
        return self.value

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def refuse(self) -> None:
        raise UserError("not so")

    def fail(self) -> None:
        raise RuntimeError("out of luck")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
