from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the tests of a session share, so that a data set is built once."""
    return tmp_path_factory.mktemp("cache")
