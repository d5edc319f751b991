"""``scmrl bench accuracy``: killed at once, it resumes; a cell at a time; what it leaves can be read."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, Fork, assert_refused, fork_scmrl, invoke, scmrl

METHODS = """
[grid]
seeds = [0, 1]

[[method]]
name = "late"
fusion.name = "late"

[[method]]
name = "audio"
fusion.name = "audio"

[[baseline]]
name = "chance"

[[condition]]
name = "noisy"
noise = { visual = 0 }
"""

PRODUCT = """
[[baseline]]
name = "experts"
kind = "product"
of = { audio = "audio", visual = "audio" }
"""


def write_grid(folder: Path) -> Path:
    settings = [f"{key} = {json.dumps(value)}" for key, value in {**SMALL_MODEL, **SMALL_DATA}.items()]
    path = folder / "grid.toml"
    path.write_text("\n".join(['dataset.name = "av-digits"', "dataset.seed = 0", *settings]) + METHODS)
    return path


@pytest.mark.slow
def test_a_killed_grid_resumes(tmp_path: Path, small_cache: Path) -> None:
    path, out = write_grid(tmp_path), tmp_path / "out"
    command = ("bench", "accuracy", str(path), "-o", str(out), "--device", "cpu")
    fork = Fork(scmrl, *command, SCMRL_CACHE=str(small_cache))
    first = out / "cells" / "late-0.json"
    for _ in range(2400):
        if first.exists() or not fork.process.is_alive():
            break
        time.sleep(0.05)
    fork.process.kill()
    assert fork.outcome().code == -signal.SIGKILL
    assert first.exists()
    before = first.stat().st_mtime_ns
    done = fork_scmrl(*command, "--json", SCMRL_CACHE=str(small_cache), cwd=tmp_path)
    assert done.code == 0, done.err
    assert first.stat().st_mtime_ns == before
    results = json.loads(done.out)
    methods = results["tasks"][""]["methods"]
    cells = [{"fold": None, "seed": seed} for seed in (0, 1)]
    assert {name: method["cells"] for name, method in methods.items()} == dict.fromkeys(
        ("chance", "late", "audio"), cells
    )
    assert (results["cells"], results["expected"]) == (6, 6)
    assert results["command"].startswith("scmrl bench accuracy ")
    assert sorted(file.name for file in out.iterdir()) == [
        "cells",
        "front.png",
        "predictions",
        "results.json",
        "results.md",
        "results.png",
        "runs",
    ]
    # The ear alone does not mind what happens to the picture.
    audio = methods["audio"]["conditions"]
    assert audio["noisy"]["metrics"] == audio["clean"]["metrics"]


def test_one_command_makes_one_cell(tmp_path: Path, blobs: None) -> None:
    """And those that it needs; a report of what exists says what is missing."""
    path, out = tmp_path / "grid.toml", tmp_path / "out"
    path.write_text('dataset.name = "blobs"\ntrain.epochs = 1\n' + METHODS + PRODUCT)
    command = ("bench", "accuracy", path, "-o", out, "--device", "cpu")
    listed = invoke(*command, "--list", "--only", "*-1").out.split()
    assert listed == ["chance-1", "audio-1", "experts-1", "late-1"]
    assert_refused(invoke(*command, "--report"), "no cell", "--report")
    assert_refused(invoke(*command, "--only", "expert-1"), "'experts-1'", "--list")
    assert not out.exists()
    done = invoke(*command, "--only", "experts-1")
    assert done.code == 0, done.err
    assert "2 of 8 cells" in done.out
    assert sorted(file.name for file in (out / "cells").iterdir()) == ["audio-1.json", "experts-1.json"]
    before = {file.name: file.read_bytes() for file in (out / "cells").iterdir()}
    assert "experts" in invoke(*command, "--report").out
    assert {file.name: file.read_bytes() for file in (out / "cells").iterdir()} == before


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
