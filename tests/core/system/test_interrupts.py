"""Signals that ask a training to stop."""

from __future__ import annotations

import os
import signal

import pytest

from scmrl_plugins.core.system.interrupts import Interrupted, Interrupts


def test_the_first_signal_says_how_to_resume_and_the_second_stops_at_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Interrupts("scmrl train a/\x1bb") as interrupts:
        os.kill(os.getpid(), 2)
        assert interrupts.requested
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), 15)
    line = "Error: interrupted; finishing the step and saving, then resume with scmrl train a/\\x1bb"
    assert capfd.readouterr().err.split("\n") == ["", f"{line}; repeat to stop at once", ""]


def test_forked_processes_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts("scmrl train a") as interrupts:
        if not (child := os.fork()):
            os.kill(os.getpid(), 2)
            os.kill(os.getpid(), 2)
            os._exit(int(interrupts.requested))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert capfd.readouterr().err == ""


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts("scmrl train a"):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
