"""Signals that ask a training to stop."""

from __future__ import annotations

import os
import signal

import pytest

from scmrl_plugins.core.system.interrupts import Interrupts


def test_a_second_signal_stops_at_once() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), 2)
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), 15)


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
