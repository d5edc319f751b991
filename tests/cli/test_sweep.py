"""``scmrl sweep``: what it prints and leaves, Ctrl-C, bad input, nothing without Ray.

Trials run in this process here; tests/sweep/test_sweep_kill.py runs them on Ray, and kills them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, Outcome, assert_refused, contents, invoke, sets

from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.sweep import run as ray_run
from scmrl_plugins.sweep import worker
from scmrl_plugins.sweep.directory import SweepDirectory
from scmrl_plugins.sweep.sweep import SweepSection, Trial

FILE = """
dataset.name = "av-digits"
fusion.name = "late"

[space]
train.lr = [0.01, 1e20, 0.02]
"""
SMALL = sets({key: value for key, value in {**SMALL_MODEL, **SMALL_DATA}.items() if key != "train.lr"})


def write(text: str = FILE) -> Path:
    path = Path("sweep.toml")
    path.write_text(text)
    return path


def sweep(*args: str, text: str = FILE) -> Outcome:
    return invoke("sweep", write(text), "-o", "out", *SMALL, "--device", "cpu", *args)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trials are trained in this process, one after the other; with ``STOP`` set, Ctrl-C comes after the first."""
    # A shell's background job ignores Ctrl-C, and Python then installs no handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(
        section: SweepSection,
        trials: Sequence[Trial],
        directory: SweepDirectory,
        device: str,
        progress: Any,
        address: str | None,
        after_run: Callable[[Run], None],
    ) -> None:
        for trial in trials:
            worker.work(worker.Task.of(trial, directory, device, 1, True, after_run))
            if os.environ.pop("STOP", None):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ray_run, "run", run)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_stopped_sweep_resumes(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the first of three trials; the same command trains the others, of which one fails."""
    out = Path("out")
    monkeypatch.setenv("STOP", "1")
    stopped = sweep()
    assert stopped.code == 130
    shown = [line for line in stopped.err.splitlines() if "interrupted" in line or "resume" in line]
    assert len(shown) == 1
    assert shown[0].startswith(
        "Error: interrupted; finished trials are in out/results.md; resume with scmrl sweep sweep.toml -o out"
    )
    assert shown[0].endswith("--device cpu")
    table = (out / "results.md").read_text()
    assert "| trial-001 | 0.01 | " in table
    assert "| trial-003 | 0.02 |  |  |  | waiting |" in table
    result = (out / "trials" / "trial-001.json").read_bytes()

    done = sweep("--json")
    assert done.code == 1, done.err
    assert done.err.splitlines()[-1] == "1 of 3 trials failed; the same command retries them"
    results = json.loads(done.out)
    assert results == json.loads((out / "results.json").read_text())
    assert results["count"] == {"done": 2, "failed": 1, "stopped": 0, "waiting": 0}
    assert "nan in epoch 1, step" in results["trials"][2]["reason"]
    assert (out / "trials" / "trial-001.json").read_bytes() == result
    table = (out / "results.md").read_text()
    assert "| trial-002 | 1e+20 |  |  |  | failed: " in table
    left = [".lock", "results.json", "results.md", "results.png", "runs", "sweep.json", "trials"]
    assert sorted(path.name for path in out.iterdir()) == left

    shown = sweep()
    assert table in shown.out
    assert shown.out.endswith("results: out/results.md\n")
    # Each trial is an ordinary run.
    assert (out / "runs" / "trial-001" / "report.html").exists()
    evaluated = invoke("eval", "out/runs/trial-001", "--device", "cpu", "--json")
    assert json.loads(evaluated.out)["accuracy"] == json.loads(result)["test_accuracy"]
    assert invoke("explain", "out/runs/trial-003").code == 0


def refuse(text: str, *words: str, args: tuple[str, ...] = ()) -> None:
    assert_refused(invoke("sweep", write(text), "-o", "out", *SMALL, *args), *words)
    assert not Path("out", ".lock").exists()


def test_bad_input_is_one_line() -> None:
    assert_refused(invoke("sweep", "none.toml", "-o", "out"), "none.toml: no such configuration file")
    assert_refused(invoke("sweep", write()), "Missing option '-o'")
    refuse(
        "[sweep]\nserch = 'grid'\n[space]\ntrain.lr = [1.0]", "sweep.toml: sweep.serch: unknown key", "'search'"
    )
    refuse("[space]\ntrain.lr = { unifrom = [0, 1] }", "space.train.lr.unifrom: unknown key", "'uniform'")
    refuse("[space]\ntrain.lrr = [1.0]", "train.lrr: unknown key", "'lr'", "sweep.toml, [space]")
    refuse("", "sweep.toml: [space] is empty")
    refuse("[space]\ntrain.ema = { uniform = [0.1, 0.9] }", "sweep.toml: space.train.ema: a grid needs a list")
    refuse("[sweep]\nsearch = 'random'\ntrials = 0\n[space]\ntrain.lr = [1.0]", "sweep.trials", "got 0")
    good = "[space]\ntrain.weight_decay = [0.0, 0.1]"
    refuse(good, "sweep.parallel", "got 0", args=("--set", "sweep.parallel=0"))
    refuse(good, "varies train.weight_decay", args=("--set", "train.weight_decay=1"))
    refuse("[space]\nfusion.name = ['cmrll']", "trial-001 (fusion.name = cmrll)", "unknown fusion", "'cmrl'")


def test_a_directory_of_something_else_is_one_line() -> None:
    good = "[space]\ntrain.weight_decay = [0.0, 0.1]"
    Path("out").mkdir()
    Path("out", "notes.txt").write_text("mine")
    refuse(good, "out: already exists", "-o")
    assert contents(Path("out")).keys() == {"notes.txt"}
    Path("file").write_text("")
    assert_refused(invoke("sweep", write(good), "-o", "file", *SMALL), "-o", "'file' is a file")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "write HOST:PORT"),
        ("ray://a:10001", "write HOST:PORT"),
        ("127.0.0.1:99999", "write HOST:PORT"),
        ("127.0.0.1:9", "no Ray cluster answers there"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(address: str, message: str) -> None:
    refuse(FILE, f"Error: --address {address}: ", message, args=("--address", address))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert_refused(invoke("sweep", write(), "-o", "out"), "pip install 'scmrl-plugins[sweep]'")
