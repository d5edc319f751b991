"""Whether a target is there is seen without importing it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from plugin_site import PluginSite

from scmrl_plugins.registry import catalogue, discover
from scmrl_plugins.registry.targets import missing


@pytest.mark.parametrize(
    ("source", "target", "complains"),
    [
        ("class Gate: ...", "looked_at:Gate", None),
        ("class Gate: ...", "looked_at:Gate.Inner", None),  # only an import would tell
        ("Gate = make()", "looked_at:Gate", None),
        ("Gate: type = make()", "looked_at:Gate", None),
        ("from elsewhere import Gate", "looked_at:Gate", None),
        ("from elsewhere import Other as Gate", "looked_at:Gate", None),
        ("try:\n    import fast as Gate\nexcept ImportError:\n    Gate = None", "looked_at:Gate", None),
        ("from elsewhere import *", "looked_at:Gate", None),
        ("def __getattr__(name): ...", "looked_at:Gate", None),
        ("class Gates: ...", "looked_at:Gate", "module 'looked_at' has no 'Gate'"),
        ("", "looked_at:Gate", "module 'looked_at' has no 'Gate'"),
        ("def broken(:", "looked_at:Gate", "SyntaxError"),
        ("", "looked_at.deeper:Gate", "'looked_at' is a module, not a package"),
        ("", "never_written:Gate", "no module named 'never_written'"),
        ("", "a_package.missing:Gate", "no module named 'a_package.missing'"),
        ("", "a_package.there:Gate", None),
        ("", "a_package.there:Gates", "module 'a_package.there' has no 'Gates'"),
        ("", "sys:path", None),  # built into Python: there is no source
    ],
)
def test_what_the_source_says(site: PluginSite, source: str, target: str, complains: str | None) -> None:
    site.add("d", {}, looked_at=source)
    package = site.folder / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "there.py").write_text("class Gate: ...")
    complaint = missing(target)
    assert (complaint is None) == (complains is None), complaint
    assert complains is None or complains in str(complaint)
    assert not {"looked_at", "a_package", "a_package.there"} & sys.modules.keys()


def test_every_target_of_ours_is_there() -> None:
    assert [missing(entry.target) for entry in catalogue().entries] == [None] * len(catalogue().entries)


def test_a_missing_one_is_reported_and_the_plugins_others_stay(site: PluginSite) -> None:
    site.add_good("half")
    (site.folder / "scmrl_half_model.py").write_text("class Thin: ...")
    found = discover()
    (broken,) = [broken for broken in found.broken if broken.name == "half"]
    assert "fusion 'half' is not there: module 'scmrl_half_model' has no 'Thing'" in broken.error
    assert "pip uninstall scmrl-half" in broken.error
    assert found.get("fusion", "half").plugin.name == "half"


def test_a_file_that_cannot_be_read_is_left_to_the_import(site: PluginSite) -> None:
    site.add("d", {}, looked_at="")
    Path(site.folder / "looked_at.py").write_bytes(b"\xff\xfe")
    assert missing("looked_at:Gate") is None or "codec" in str(missing("looked_at:Gate"))
