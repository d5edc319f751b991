"""The miniature of the data set ``av-folder``, and a folder of pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
from av_folder_data import put
from planted_files import copy

from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature: three classes, 4 samples each to train and 2 to test; not to be changed."""
    root = tmp_path_factory.mktemp("av-folder")
    AVFolder.fixture(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy of the miniature, to be changed."""
    return copy(written, tmp_path / "root")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for place in range(12):
        put(tmp_path, f"a{place}", place)
    return tmp_path
