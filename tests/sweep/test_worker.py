from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_files import FILE, read, work

from scmrl_plugins.sweep import report, worker
from scmrl_plugins.sweep.directory import SweepDirectory


def test_a_failure_is_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FILE.replace("[0.01, 0.02]", "[0.01, 1e20]").replace("[0.25, 0.3]", "[0.3]")
    sweep = read(tmp_path, text)
    directory = work(sweep, tmp_path / "out")
    (_, failed) = summary = report.summarize(sweep, sweep.trials(), directory)["trials"]
    assert [trial["status"] for trial in summary] == ["done", "failed"]
    assert "in epoch 1, step" in failed["reason"]
    assert len(failed["reason"].splitlines()) == 1

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "Training", fail)
    before = directory.result_file("trial-001").stat().st_mtime_ns
    work(sweep, tmp_path / "out")
    assert directory.result_file("trial-001").stat().st_mtime_ns == before  # what is through is not done again
    again = directory.outcome(sweep.trials()[1])
    assert again["reason"].startswith("not enough memory: ")
    assert "MemoryError" in directory.log_file("trial-002").read_text()


def test_a_trial_that_its_machine_ends_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends the processes of a driver that was killed by SIGTERM, and handles it by ``sys.exit``."""
    monkeypatch.setattr(worker, "Training", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        sweep = read(tmp_path, FILE)
        with pytest.raises(KeyboardInterrupt):
            work(sweep, tmp_path / "out")
    finally:
        signal.signal(signal.SIGTERM, handler)
    first, *_ = sweep.trials()
    assert SweepDirectory(tmp_path / "out").outcome(first)["status"] == "waiting"
