"""A root with miniature data, and a cache of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from scmrl_plugins.plugins.datasets.miniatures.digits import write_fsdd, write_mnist


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fsdd(tmp_path / "root")
    write_mnist(tmp_path / "root" / "mnist")
    return tmp_path / "root"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
