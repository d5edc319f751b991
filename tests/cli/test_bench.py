"""``scmrl bench accuracy``: killed at once, it goes on; what it leaves can be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, assert_refused, fork_scmrl, invoke

METHODS = """
[grid]
seeds = [0, 1]

[[method]]
name = "late"
fusion.name = "late"

[[method]]
name = "audio"
fusion.name = "audio"

[[condition]]
name = "noisy"
noise = { visual = 0 }
"""


def write_grid(folder: Path) -> Path:
    settings = [f"{key} = {json.dumps(value)}" for key, value in {**SMALL_MODEL, **SMALL_DATA}.items()]
    path = folder / "grid.toml"
    path.write_text("\n".join(['dataset.name = "av-digits"', *settings]) + METHODS)
    return path


@pytest.mark.slow
def test_a_killed_grid_resumes(tmp_path: Path, small_cache: Path) -> None:
    path, out = write_grid(tmp_path), tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "scmrl_plugins",
        "bench",
        "accuracy",
        str(path),
        "-o",
        str(out),
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "SCMRL_CACHE": str(small_cache), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        first = out / "cells" / "late-0.json"
        for _ in range(2400):
            if first.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert first.exists()
    before = first.stat().st_mtime_ns
    done = fork_scmrl(
        "bench",
        "accuracy",
        path,
        "-o",
        out,
        "--device",
        "cpu",
        "--json",
        SCMRL_CACHE=str(small_cache),
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    assert first.stat().st_mtime_ns == before
    results = json.loads(done.out)
    assert {name: method["seeds"] for name, method in results["methods"].items()} == {
        "late": [0, 1],
        "audio": [0, 1],
    }
    assert results["command"].startswith("scmrl bench accuracy ")
    assert sorted(file.name for file in out.iterdir()) == [
        "cells",
        "results.json",
        "results.md",
        "results.png",
        "runs",
    ]
    assert all((path / "report.html").exists() for path in (out / "runs").iterdir())
    # The ear alone does not mind what happens to the picture.
    audio = results["methods"]["audio"]["conditions"]
    assert audio["noisy"]["values"] == audio["clean"]["values"]


def test_a_bad_grid_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
    assert_refused(
        invoke("bench", "accuracy", tmp_path / "none.toml", "-o", tmp_path / "out"), "none.toml", "no such"
    )
    path = write_grid(tmp_path)
    path.write_text(path.read_text().replace("fusion.name", "fusion.nam"))
    assert_refused(invoke("bench", "accuracy", path, "-o", tmp_path / "out", "--json"), "fusion.nam", "method")
    assert not (tmp_path / "out").exists()
    assert_refused(invoke("bench", "accuracy", path), "--output")


def test_its_help_is_reached() -> None:
    assert "accuracy" in invoke("bench", "--help").out
    assert "[[condition]]" in invoke("bench", "accuracy", "--help").out
