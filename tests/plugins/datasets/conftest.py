"""A root with miniature data, and a cache of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_files import copy

from scmrl_plugins.plugins.datasets.miniatures.digits import write_fsdd, write_mnist


@pytest.fixture(autouse=True)
def _without_report(without_report: None) -> None:
    """Tests here look at data."""


@pytest.fixture(scope="session")
def digits_written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniatures of FSDD and MNIST; not to be changed."""
    root = tmp_path_factory.mktemp("digits")
    write_fsdd(root)
    write_mnist(root / "mnist")
    return root


@pytest.fixture
def root(digits_written: Path, tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return copy(digits_written, tmp_path / "root")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
