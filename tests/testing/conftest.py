from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scmrl_plugins.registry import catalogue

# plugin_site.py, which the tests of discovery use too.
sys.path.append(str(Path(__file__).parents[1] / "registry"))
from plugin_site import PluginSite


@pytest.fixture(autouse=True)
def surroundings(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    monkeypatch.delenv("SCMRL_DISABLE_PLUGINS", raising=False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginSite]:
    """A place for third-party plugins that this process finds."""
    place = PluginSite(tmp_path / "site")
    monkeypatch.syspath_prepend(place.folder)
    catalogue.cache_clear()
    yield place
    catalogue.cache_clear()
    place.forget()
