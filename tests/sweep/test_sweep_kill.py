"""A sweep whose processes are killed, its driver too, resumes to the results of one that nothing disturbed."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import HELPERS
from sweep_files import work, write

from scmrl_plugins.registry import catalogue, register_file
from scmrl_plugins.sweep.directory import SweepDirectory
from scmrl_plugins.sweep.sweep import Trial, read_sweep

pytestmark = pytest.mark.slow

PLUGIN = '''
"""The data set of the tests, and a loss that kills its process once, and waits once for a kill of the driver."""
import os, signal, time
import torch
from scmrl_plugins import hookimpl
from scmrl_plugins.core.interfaces import ComponentConfig

calls = 0


@hookimpl
def scmrl_register(register):
    register("dataset", "blobs", "blob_data:Blobs", "patterns in noise")
    register("loss", "deadly", f"{__name__}:Deadly", "cross-entropy, with a hitch")


def first(mark):
    try:
        os.close(os.open(os.path.join(os.environ["SCMRL_TEST_MARKS"], mark), os.O_CREAT | os.O_EXCL))
    except (KeyError, FileExistsError):
        return False
    return True


class Deadly(torch.nn.Module):
    class Config(ComponentConfig):
        pass

    def __init__(self, config, context):
        super().__init__()

    def forward(self, output, target):
        global calls
        calls += 1
        if calls == 6 and first("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if calls == 16 and first("waiting"):
            time.sleep(600)
        return torch.nn.functional.cross_entropy(output.logits, target)
'''
KILLED = """
[dataset]
name = "blobs"

[encoder]
name = "rate"

[train]
epochs = 2
checkpoint_steps = 2

[[loss]]
name = "deadly"

[sweep]
search = "random"
trials = 5
parallel = 2

[space]
train.lr = { log_uniform = [1e-3, 1e-1] }
neuron.threshold = { uniform = [0.2, 0.4] }
fusion.name = ["late", "cmrl"]
"""


def processes_of(marks: Path, name: str = "SCMRL_TEST_MARKS", agents: bool = False) -> dict[int, str]:
    """Every process that was started for the sweep of a test, by what is in its environment.

    Two agents of Ray's, which compute nothing, try for a minute to tell a killed driver that it is dead.
    """
    processes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{name}={marks}\0".encode() in (folder / "environ").read_bytes():
                processes[int(folder.name)] = " ".join((folder / "cmdline").read_text().split("\0")[:4])
        except OSError:
            continue
    idle = re.compile(r"ray::\w+Agent|python.*/agent(/main)?\.py")
    return {pid: what for pid, what in processes.items() if agents or not idle.search(what)}


def wait(done: Callable[[], bool], seconds: float, what: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds} s: {what()}"
        time.sleep(0.05)


def none_left(marks: Path) -> None:
    wait(lambda: not processes_of(marks), 30, lambda: f"an end of {processes_of(marks)}")


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "marks"
    folder.mkdir()
    yield folder
    for pid in processes_of(folder, agents=True):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def environment(marks: Path) -> dict[str, str]:
    """The environment of every process that a test starts."""
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HELPERS),
        "SCMRL_TEST_MARKS": str(marks),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[str]:
    """The address of a Ray cluster that is this machine, starting; ``marks`` ends what is left of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        started = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"),
                *("--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false"),
                *("--disable-usage-stats", f"--temp-dir={folder}", "--object-store-memory=100000000"),
            ],
            env={name: value for name, value in environment.items() if name != "SCMRL_TEST_MARKS"}
            | {"SCMRL_TEST_CLUSTER": environment["SCMRL_TEST_MARKS"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        yield f"127.0.0.1:{port}"
        started.kill()
        started.wait()
        for pid in processes_of(Path(environment["SCMRL_TEST_MARKS"]), "SCMRL_TEST_CLUSTER", agents=True):
            os.kill(pid, signal.SIGKILL)


def same(directory: SweepDirectory, trial: Trial) -> Any:
    """What must not differ between a trial that was disturbed and one that was not."""
    result = json.loads(directory.result_file(trial.name).read_text())
    epochs = [{key: value for key, value in line.items() if key != "seconds"} for line in result.pop("epochs")]
    del result["environment"]
    weights = directory.run(trial.name).weights_file.read_bytes()
    checkpoint = directory.run(trial.name).checkpoints()[-1].read_bytes()
    return result, epochs, weights, checkpoint


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc for processes")
def test_kills_of_a_trial_and_of_the_driver_lose_nothing(
    tmp_path: Path, marks: Path, environment: dict[str, str], cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five trials on two cores. A trial's process is killed, and the driver while another trial is trained.

    The same command, on a cluster now, then ends with five results, to the bit those of trials that nothing
    disturbed. No process is left at any time.
    """
    plugin = tmp_path / "deadly_plugin.py"
    plugin.write_text(PLUGIN)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "scmrl_plugins", "sweep", str(write(tmp_path, KILLED)), "-o", str(out)]
    command += ["--device", "cpu", "--plugin", str(plugin)]
    with (tmp_path / "output").open("w") as output:
        driver = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

        def reached() -> bool:
            assert driver.poll() is None, (tmp_path / "output").read_text()
            return (marks / "waiting").exists()

        wait(reached, 270, lambda: f"a trial that waits: {(tmp_path / 'output').read_text()}")
        driver.kill()
        driver.wait()
    none_left(marks)
    directory = SweepDirectory(out)
    assert (marks / "killed").exists()
    assert "its process was killed; it resumes from its last checkpoint" in (tmp_path / "output").read_text()

    # What nothing disturbs is trained in this process.
    monkeypatch.setattr(catalogue(), "entries", [e for e in catalogue().entries if e.name != "blobs"])
    monkeypatch.syspath_prepend(HELPERS)
    register_file(plugin)
    sweep = read_sweep(tmp_path / "sweep.toml")
    trials = sweep.trials()
    statuses = [directory.outcome(trial)["status"] for trial in trials]
    assert set(statuses) == {"done", "stopped", "waiting"}, statuses
    left = 5 - statuses.count("done")
    written = {file: file.stat().st_mtime_ns for file in (out / "trials").glob("*.json")}
    undisturbed = work(sweep, tmp_path / "undisturbed")
    catalogue().remove("deadly_plugin")

    done = subprocess.run(
        [*command, "--json", "--set", "sweep.parallel=1", "--address", cluster],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"] == {"done": 5, "failed": 0, "stopped": 0, "waiting": 0}
    assert [line.split()[0] for line in done.stderr.splitlines()] == [
        str(left),
        *(f"{number}/{left}" for number in range(1, left + 1)),
    ]
    assert {file: file.stat().st_mtime_ns for file in written} == written
    for trial in trials:
        assert same(directory, trial) == same(undisturbed, trial)
        assert directory.run(trial.name).report_file.exists()
    none_left(marks)
