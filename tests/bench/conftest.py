from __future__ import annotations

import pytest
from task_data import ENTRY

from scmrl_plugins.registry import catalogue


@pytest.fixture(autouse=True)
def _data(blobs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here may name the data sets ``blobs`` and ``tasks``."""
    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
