"""Small models and a data set in memory, for what needs no files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blob_data import ENTRY

from scmrl_plugins.core import assembly, compose
from scmrl_plugins.core.assembly import Assembly
from scmrl_plugins.registry import catalogue


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
