"""``scmrl data prepare`` killed at random moments, and in two processes at once: the cache is as if undisturbed.

A process that has imported everything forks those that prepare, so that most of their life is work.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from cli_runs import fork_python

from scmrl_plugins.registry import catalogue

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SCMRL_KILLS", "5"))

PROGRAM = """
import json, os, random, signal, sys, time

from scmrl_plugins.cli import main
from scmrl_plugins.core.data import store
from scmrl_plugins.core.model import assembly
import torchvision.transforms.v2, datasets, scipy.signal

store.FeatureStore.part_rows = 2
given, kills = sys.argv[1:-1], int(sys.argv[-1])


def start(cache, workers):
    child = os.fork()
    if child:
        return child
    os.environ["SCMRL_CACHE"] = cache
    os.dup2(2, 1)
    try:
        main(["data", "prepare", *given, "--workers", str(workers)])
    except SystemExit as end:
        os._exit(end.code)
    finally:
        os._exit(9)


def wait(child):
    return os.waitpid(child, 0)[1]


def parts():
    return sum(name.endswith(".json") for _, _, names in os.walk("killed") for name in names)


GONE = os.WEXITED | os.WNOHANG | os.WNOWAIT
began = time.perf_counter()
told = {"undisturbed": wait(start("undisturbed", 0))}
seconds = time.perf_counter() - began
draw = random.Random()
ends = []
for number in range(kills):
    before = parts()
    child = start("killed", 2 * (number % 5 == 4))
    # Two of three come while it writes, the others anywhere in its start.
    while number % 3 and parts() == before and not os.waitid(os.P_PID, child, GONE):
        time.sleep(0.002)
    time.sleep(draw.uniform(0.0, 0.05) * seconds)
    os.kill(child, signal.SIGKILL)
    ends.append(wait(child))
told["killed"] = ends
told["after"] = wait(start("killed", 0))
told["together"] = [wait(child) for child in [start("together", 0), start("together", 0)]]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def statuses(place: Path) -> dict[str, Any]:
    """The exit states of every process, by what was done to it."""
    options = catalogue().get("dataset", "av-folder").load().fixture(place / "data")
    sets = [text for key, value in options.items() for text in ("--set", f"dataset.{key}={value}")]
    given = ("av-folder", *sets, "--set", "model.image_size=16", str(KILLS))
    done = fork_python(PROGRAM, *given, cwd=place)
    assert done.code == 0, done.err
    return json.loads(done.out.splitlines()[-1])


def cached(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_orphans(folder: Path) -> dict[str, bytes]:
    """What is there when the workers of killed processes, who finish what they have begun, are gone."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if all(path.name == ".lock" for path in folder.rglob(".*")):
            break
        time.sleep(0.1)
    return cached(folder)


def columns(content: bytes) -> dict[str, list[Any]]:
    with pyarrow.ipc.open_stream(content) as reader:
        return reader.read_all().to_pydict()


def test_a_killed_preparation_resumes_to_the_same_cache(place: Path, statuses: dict[str, Any]) -> None:
    assert statuses["undisturbed"] == statuses["after"] == 0
    assert set(statuses["killed"]) <= {
        0,
        9,
    }  # 9: killed; the last ones may have had nothing to do
    assert statuses["killed"].count(9) >= 3
    expected, found = cached(place / "undisturbed"), without_orphans(place / "killed")
    assert found.keys() == expected.keys()  # so there is no leftover either
    arrow = [name for name in expected if name.endswith(".arrow")]
    assert len(arrow) > 8
    for name in arrow:
        one, other = columns(expected[name]), columns(found[name])
        assert list(one) == ["audio", "visual", "id", "label"]
        assert one == other
    assert found == expected


def test_two_preparations_at_once_do_not_interfere(place: Path, statuses: dict[str, Any]) -> None:
    assert statuses["together"] == [0, 0]
    assert cached(place / "together") == cached(place / "undisturbed")
