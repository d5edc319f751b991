"""Signals that stop a run: the first one after the current step, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

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


class Interrupts:
    """``with Interrupts() as interrupts: ...; if interrupts.requested: save and stop``.

    The first Ctrl-C or SIGTERM sets ``requested``, the second raises ``KeyboardInterrupt``. Outside the main
    thread, where Python allows no handlers, signals are not handled.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handling = handling(self._request, *SIGNALS)

    def __enter__(self) -> Interrupts:
        self._handling.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handling.__exit__(kind, error, trace)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(2, b"\nfinishing the step and saving; repeat to stop at once\n")
