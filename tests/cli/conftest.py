from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_runs import TINY, invoke


@pytest.fixture(autouse=True)
def surroundings(small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's cache, and an empty working directory: a default ``runs/`` goes nowhere else."""
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    monkeypatch.delenv("SCMRL_DISABLE_PLUGINS", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(scope="session")
def trained(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ``scmrl train`` left; in this process, as quick tests start no others."""
    run = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCMRL_CACHE", str(small_cache))
        patch.chdir(run.parent)
        done = invoke("train", *TINY, "--device", "cpu", "-o", run)
    assert done.code == 0, done.err
    (run.parent / "stdout").write_text(done.out)
    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as the process that trained: sums are then added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
