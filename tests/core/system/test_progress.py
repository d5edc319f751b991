"""Progress: lines on standard error, whether or not somebody reads them."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest

from scmrl_plugins.core.system.progress import Progress


class Failing:
    """A stream that cannot be written, and counts how often that was tried."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self.number, self.tried = number, 0

    def isatty(self) -> bool:
        return False

    def write(self, _text: str) -> int:
        self.tried += 1
        raise OSError(self.number, "as asked")  # a BrokenPipeError for EPIPE

    def flush(self) -> None: ...


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_work_goes_on_when_nobody_reads_its_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    stream: Any = Failing(number)
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress() as progress:
        progress.stage("epoch 1/2", 10)
        progress.line("epoch 1/2")
        progress.advance()
        progress.line("epoch 2/2")
    assert stream.tried == 1
    print("a result")
    assert capfd.readouterr().out == "a result\n"  # rich replaces standard output, whichever pipe is broken
