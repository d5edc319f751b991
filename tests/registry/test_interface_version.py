"""A plugin says which interface it was written for, and is told when that is too new or too old."""

from __future__ import annotations

import pytest
from plugin_site import PluginSite

import scmrl_plugins
from scmrl_plugins.registry import INTERFACE_VERSION, Catalogue, discover, staging

HOOK = """
from scmrl_plugins import hookimpl

{line}

@hookimpl
def scmrl_register(register):
    register("fusion", "dated", "m:C", "s")
"""


def found_with(site: PluginSite, line: str) -> tuple[Catalogue, list[str]]:
    site.add("scmrl-dated", {"dated": "scmrl_dated"}, scmrl_dated=HOOK.format(line=line))
    found = discover()
    return found, [broken.error for broken in found.broken if broken.name == "dated"]


def test_it_can_be_read_from_the_package() -> None:
    assert scmrl_plugins.INTERFACE_VERSION == INTERFACE_VERSION >= 1


@pytest.mark.parametrize("line", ["", f"scmrl_interface = {INTERFACE_VERSION}"])
def test_today_s_and_none_are_fine(site: PluginSite, line: str) -> None:
    found, errors = found_with(site, line)
    assert errors == []
    assert found.get("fusion", "dated").plugin.name == "dated"


@pytest.mark.parametrize("value", ["0", "-1", "'1'", "1.0", "None", "True + 0.5", "False"])
def test_what_is_no_version_is_refused(site: PluginSite, value: str) -> None:
    found, errors = found_with(site, f"scmrl_interface = {value}")
    assert "is not a version" in errors[0]
    assert "dated" not in [plugin.name for plugin in found.plugins]


def test_a_newer_one_is_refused_with_the_way_to_get_it(site: PluginSite) -> None:
    found, errors = found_with(site, f"scmrl_interface = {INTERFACE_VERSION + 1}")
    assert f"written for interface {INTERFACE_VERSION + 1}" in errors[0]
    assert "pip install -U scmrl-plugins" in errors[0]
    assert "dated" not in [plugin.name for plugin in found.plugins]


def test_a_deprecated_one_works_and_is_reported(site: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "INTERFACE_VERSION", 3)
    monkeypatch.setattr(staging, "OLDEST_INTERFACE", 2)
    found, errors = found_with(site, "scmrl_interface = 2")
    assert "interface 2, which is deprecated: the newest is 3" in errors[0]
    assert "pip install -U scmrl-dated" in errors[0]
    assert found.get("fusion", "dated").plugin.name == "dated"


def test_one_that_is_too_old_is_refused(site: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "INTERFACE_VERSION", 3)
    monkeypatch.setattr(staging, "OLDEST_INTERFACE", 2)
    found, errors = found_with(site, "scmrl_interface = 1")
    assert "the oldest that works here is 2" in errors[0]
    assert "pip install -U scmrl-dated" in errors[0]
    assert "dated" not in [plugin.name for plugin in found.plugins]
