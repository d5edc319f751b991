from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _blobs(blobs: None) -> None:
    """Every test here may name the data set ``blobs``."""
