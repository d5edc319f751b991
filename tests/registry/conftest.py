"""An empty place for distributions, first on the module search path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_site import PluginSite


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginSite]:
    place = PluginSite(tmp_path / "site")
    # What the hooks of the tests name as targets; discovery looks whether it is there.
    (place.folder / "m.py").write_text("class C: ...\nclass Fine: ...\nclass Other: ...\nclass Theirs: ...\n")
    monkeypatch.syspath_prepend(place.folder)
    monkeypatch.delenv("SCMRL_DISABLE_PLUGINS", raising=False)
    yield place
    place.forget()
