from __future__ import annotations

import os
from pathlib import Path

import pytest

# As many processes as cores run the tests; torch, which reads this when it is imported, need not fill them too.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the tests of a session share, so that a data set is built once."""
    return tmp_path_factory.mktemp("cache")
