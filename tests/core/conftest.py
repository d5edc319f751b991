"""The data set ``blobs`` for every test of the core, and trainings in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import forked_training
import pytest
from cli_runs import FORKS, Fork


@pytest.fixture(autouse=True)
def _blobs(blobs: None) -> None:
    """Every test here may name the data set ``blobs``."""


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    """``forked(run=PATH, ...)``: a training in a process of its own, see forked_training.py."""
    connection, theirs = FORKS.Pipe()
    fork = Fork(forked_training.serve, theirs, SCMRL_CACHE=str(tmp_path_factory.mktemp("cache")))
    theirs.close()

    def train(**wanted: Any) -> dict[str, Any]:
        connection.send({**wanted, "run": str(wanted["run"])})
        return dict(connection.recv())

    yield train
    connection.close()
    assert fork.outcome().code == 0
