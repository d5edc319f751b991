"""The miniature of the data set ``hub``, written once, and a cache of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_data import TEST, TRAIN

from scmrl_plugins.plugins.datasets.miniatures.hub import write_tables


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature: 24 rows to train and 9 to test, of three classes in turn; not to be changed."""
    root = tmp_path_factory.mktemp("hub")
    write_tables(root, TRAIN, TEST)
    return root


@pytest.fixture(autouse=True)
def _cache(cache: Path) -> None:
    """Nothing here touches the user's own cache."""
