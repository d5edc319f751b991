"""The data set ``blobs`` for every test of the core, and trainings in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paths import HELPERS


@pytest.fixture(autouse=True)
def _blobs(blobs: None) -> None:
    """Every test here may name the data set ``blobs``."""


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    """``forked(run=PATH, ...)``: a training in a process of its own, see forked_training.py."""
    process = subprocess.Popen(
        [sys.executable, str(HELPERS / "forked_training.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "SCMRL_CACHE": str(tmp_path_factory.mktemp("cache")),
            "PYTHONPATH": str(HELPERS),
        },
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def train(**wanted: Any) -> dict[str, Any]:
        process.stdin.write(json.dumps({**wanted, "run": str(wanted["run"])}) + "\n")
        process.stdin.flush()
        return dict(json.loads(process.stdout.readline()))

    yield train
    process.stdin.close()
    process.wait(timeout=60)
