"""An object in a new Python process, with separate memory, threads and environment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from operator import methodcaller
from pathlib import Path
from typing import Any

from scmrl_plugins.registry import UserError


class Child:
    """Runs ``factory(*arguments)`` in a new process; ``call("method", ...)`` calls a method of that object.

    ``environment`` is set before the process imports anything. Its output is captured, and the last line becomes
    part of the error message if the process dies. The process ends with the ``with`` block or with its parent.
    ``call`` raises the ``UserError`` of the factory or method, or one with the exit status and the ``remedy``.
    """

    def __init__(
        self,
        name: str,
        factory: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        remedy: str = "",
    ) -> None:
        self.name, self.remedy = name, remedy
        spawn = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="scmrl-child-")
        self._output = Path(self._folder.name) / "output"
        self._connection, connection = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(connection, self._output, factory, arguments))
        with _environment(environment or {}):
            self.process.start()
        connection.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self.process.join(timeout=0 if any(error) else 10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._folder.cleanup()

    def call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Call a method in the process and return its result."""
        try:
            self._connection.send((method, arguments, keywords))
            result, error = self._connection.recv()
        except (EOFError, OSError):
            raise UserError(self._ending()) from None
        if error is not None:
            raise error
        return result

    def _ending(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = self._output.read_text("utf-8", "replace").strip().splitlines() if self._output.exists() else []
        ending = f"the process of {self.name} {how}: {lines[-1] if lines else 'it printed nothing'}"
        return f"{ending}; {self.remedy}" if self.remedy else ending


@contextlib.contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started in the block."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, output: Path, factory: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Answer calls until the connection closes. An error other than ``UserError`` ends the process."""
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    target: Any = None
    with contextlib.suppress(EOFError):
        while True:
            method, positional, keywords = connection.recv()
            try:
                target = factory(*arguments) if target is None else target
                connection.send((methodcaller(method, *positional, **keywords)(target), None))
            except UserError as error:
                connection.send((None, error))
