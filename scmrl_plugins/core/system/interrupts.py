"""Signals that ask a run to end: the first finishes the step, the second ends at once."""

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
    """Signals go to a handler meanwhile; not in another thread than the main one, where Python takes none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, known in before.items():
            with contextlib.suppress(TypeError):  # a handler that was not Python's
                signal.signal(number, known)


class Interrupts:
    """``with Interrupts() as interrupts: ...; if interrupts.asked: save and stop``.

    Ctrl-C and SIGTERM only set ``asked``; a second one raises ``KeyboardInterrupt`` where the program stands. In
    another thread than the main one, where Python takes no handlers, signals do what they did before.
    """

    def __init__(self) -> None:
        self.asked = False
        self._handling = handling(self._ask, *SIGNALS)

    def __enter__(self) -> Interrupts:
        self._handling.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handling.__exit__(kind, error, trace)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nfinishing the step and saving it; once more to stop at once\n")
