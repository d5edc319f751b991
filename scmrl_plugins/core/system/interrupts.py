"""Signals that stop a run: the first one after the current step, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from scmrl_plugins.registry.errors import printable

SIGNALS = (signal.SIGINT, signal.SIGTERM)


Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def handling(handler: Handler, *numbers: int) -> Iterator[None]:
    """Handle signals in the block, if this is the main thread: Python allows no handlers in others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            with contextlib.suppress(TypeError):  # a handler that was not set by Python
                signal.signal(number, previous)


class Interrupted(KeyboardInterrupt):
    """An interruption that says what the user can do then, or, with no text, of which the user knows."""


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """A handler that ends the main thread as Ctrl-C does."""
    raise Interrupted


class Interrupts:
    """``with Interrupts("scmrl train RUN") as interrupts: ...; if interrupts.requested: raise Interrupted``.

    The first Ctrl-C or SIGTERM sets ``requested`` and prints a line with the command that resumes, the second
    raises ``Interrupted``. Forked processes are not concerned, nor are others than the main thread, where Python
    allows no handlers.
    """

    def __init__(self, resume: str) -> None:
        self.requested = False
        self.process = os.getpid()
        self.line = (
            f"\nError: interrupted; finishing the step and saving, then resume with {printable(resume)}; "
            f"repeat to stop at once\n"
        )
        self._handling = handling(self._request, *SIGNALS)

    def __enter__(self) -> Interrupts:
        self._handling.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handling.__exit__(kind, error, trace)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            return
        if self.requested:
            raise Interrupted
        self.requested = True
        with contextlib.suppress(OSError):  # standard error may be closed
            os.write(2, self.line.encode(errors="backslashreplace"))
