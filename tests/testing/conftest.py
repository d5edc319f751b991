from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def surroundings(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    monkeypatch.delenv("SCMRL_DISABLE_PLUGINS", raising=False)
