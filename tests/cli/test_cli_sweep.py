"""``scmrl sweep``: on a cluster of one machine, stopped and gone on with; bad input; nothing without Ray."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, assert_refused, contents, invoke, run_scmrl, sets

FILE = """
dataset.name = "av-digits"

[sweep]
parallel = 1

[space]
train.lr = [0.01, 1e20, 0.02]
"""
TINY = sets({key: value for key, value in {**SMALL_MODEL, **SMALL_DATA}.items() if key != "train.lr"})


def write(text: str = FILE) -> Path:
    path = Path("sweep.toml")
    path.write_text(text)
    return path


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, small_cache: Path) -> Iterator[str]:
    """The address of a Ray cluster that is this machine; nothing of it is left afterwards."""
    mark = secrets.token_hex(16)
    monkeypatch.setenv("SCMRL_TEST_MARK", mark)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        started = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"),
                *("--node-ip-address=127.0.0.1", "--num-cpus=1", "--include-dashboard=false"),
                *("--disable-usage-stats", f"--temp-dir={folder}", "--object-store-memory=100000000"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            started.kill()
            started.wait()
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)
            while marked(mark):
                time.sleep(0.05)


def marked(mark: str) -> list[int]:
    """The processes that a test has started, whoever their parents are."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc for processes")
def test_a_sweep_on_a_cluster_is_stopped_and_goes_on(cluster: str, small_cache: Path) -> None:
    """Ctrl-C after the first of three trials; the same command trains the others, of which one fails."""
    path, out = write(), Path("out")
    command = ["sweep", str(path), "-o", "out", "--address", cluster, "--device", "cpu", *TINY]
    while not answers(cluster):
        time.sleep(0.1)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "SCMRL_CACHE": str(small_cache)}
    driver = subprocess.Popen(
        [sys.executable, "-m", "scmrl_plugins", *command], env=env, stderr=subprocess.PIPE, text=True
    )
    while not (out / "trials" / "trial-001.json").exists():
        assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
        time.sleep(0.02)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=100)
    assert driver.returncode == 130, said
    assert "go on with scmrl sweep sweep.toml -o out --set model.steps=2" in said
    assert f"--address {cluster}" in said
    assert said.splitlines()[-1] == "Error: interrupted"
    assert "| trial-001 | 0.01 |" in (out / "results.md").read_text()
    first = (out / "trials" / "trial-001.json").read_bytes()

    done = run_scmrl(*command, "--json")
    assert done.code == 1, done.err
    assert "1 of 3 trials failed; the same command tries them again" in done.err
    assert "ray" not in done.err.lower()
    told = json.loads(done.out)
    assert told["count"] == {"done": 2, "failed": 1, "stopped": 0, "waiting": 0}
    assert [trial["settings"]["train.lr"] for trial in told["trials"][:2]] in ([0.01, 0.02], [0.02, 0.01])
    assert "try a smaller train.lr" in told["trials"][2]["reason"]
    assert (out / "trials" / "trial-001.json").read_bytes() == first
    table = (out / "results.md").read_text()
    assert "| trial-002 | 1e+20 |  |  |  | failed: " in table
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock",
        "ray.log",
        "results.json",
        "results.md",
        "results.png",
        "runs",
        "sweep.json",
        "trials",
    ]

    # Each trial is an ordinary run.
    evaluated = invoke("eval", "out/runs/trial-001", "--device", "cpu", "--json")
    assert json.loads(evaluated.out)["accuracy"] == json.loads(first)["test_accuracy"]
    assert invoke("report", "out/runs/trial-003").code == 0


def refuse(text: str, *words: str, args: tuple[str, ...] = ()) -> None:
    assert_refused(invoke("sweep", write(text), "-o", "out", *TINY, *args), *words)
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
    refuse("[space]\ntrain.lr = { uniform = [0.1, 1.0] }", "sweep.toml: space.train.lr: a grid needs a list")
    refuse("[sweep]\nsearch = 'random'\ntrials = 0\n[space]\ntrain.lr = [1.0]", "sweep.trials", "got 0")
    refuse(FILE, "sweep.parallel", "got 0", args=("--set", "sweep.parallel=0"))
    refuse(FILE, "varies train.lr", args=("--set", "train.lr=1"))
    refuse("[space]\nfusion.name = ['cmrll']", "trial-001 (fusion.name = cmrll)", "unknown fusion", "'cmrl'")


def test_a_directory_of_something_else_is_one_line() -> None:
    Path("out").mkdir()
    Path("out", "notes.txt").write_text("mine")
    refuse(FILE, "out: there is something already", "-o")
    assert contents(Path("out")).keys() == {"notes.txt"}
    Path("file").write_text("")
    assert_refused(invoke("sweep", write(), "-o", "file", *TINY), "file: there is something already")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere", "write HOST:PORT"),
        ("ray://a:10001", "write HOST:PORT"),
        ("127.0.0.1:99999", "write HOST:PORT"),
        ("127.0.0.1:9", "no Ray cluster answers there"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(address: str, said: str) -> None:
    refuse(FILE, f"Error: --address {address}: ", said, args=("--address", address))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert_refused(invoke("sweep", write(), "-o", "out"), "pip install 'scmrl-plugins[sweep]'")
