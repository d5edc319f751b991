from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_files import FILE, read, work

from scmrl_plugins.sweep import report, worker


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
