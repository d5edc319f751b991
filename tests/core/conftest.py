"""Small models and a data set in memory, for what needs no files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blob_data import ENTRY

from scmrl_plugins.core import assembly, compose
from scmrl_plugins.core.assembly import Assembly
from scmrl_plugins.registry import catalogue

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _blobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The data set ``blobs`` in the catalogue, and a cache that belongs to the test."""
    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small() -> Callable[..., Assembly]:
    """``small(fusion={"name": "late"}, sets=[...])``: an experiment of a few thousand operations."""

    def make(sets: list[str] | None = None, **sections: Any) -> Assembly:
        layer = compose.Layer("the test", {"dataset": {"name": "blobs"}})
        return assembly.assemble(compose.compose(layers=[layer], options=sections, sets=sets or []))

    return make


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    """``forked(run=PATH, ...)``: a training in a process of its own, see forked_training.py."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "forked_training.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "SCMRL_CACHE": str(tmp_path_factory.mktemp("cache")), "PYTHONPATH": str(HERE)},
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
