from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_site import PluginSite

from scmrl_plugins.registry import catalogue

# As many processes as cores run the tests; torch, which reads this when it is imported, need not fill them too.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the tests of a session share, so that a data set is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginSite]:
    """A place for third-party plugins that this process finds."""
    place = PluginSite(tmp_path / "site")
    monkeypatch.syspath_prepend(place.folder)
    catalogue.cache_clear()
    yield place
    catalogue.cache_clear()
    place.forget()
