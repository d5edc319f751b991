"""The generated pages in docs/ are those of the code, and every registered component is in them."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from cli_runs import fork_script

from scmrl_plugins.core import interfaces
from scmrl_plugins.registry import INTERFACE_VERSION, KINDS, catalogue, hookspecs
from scmrl_plugins.testing import CHECKS

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_generated_pages_are_up_to_date() -> None:
    done = fork_script(ROOT / "docs" / "generate.py", "--check")
    assert done.code == 0, done.err


def test_every_component_is_documented() -> None:
    page = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    for entry in catalogue().entries:
        if entry.plugin.builtin:
            assert f"### `{entry.name}` ({entry.plugin.name})" in page


PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_every_hook_is_documented_with_its_arguments() -> None:
    specs = [function for function in vars(hookspecs).values() if hasattr(function, "scmrl_spec")]
    assert specs
    for function in specs:
        assert f"`{function.__name__}({', '.join(inspect.signature(function).parameters)})`" in PLUGINS
    arguments = ", ".join(list(inspect.signature(hookspecs.Register.__call__).parameters)[1:])
    assert f"`register({arguments})`" in PLUGINS


def test_every_kind_tag_and_check_is_documented() -> None:
    for kind in KINDS:
        assert f"\n| `{kind}` | " in PLUGINS
        assert getattr(interfaces, kind.capitalize()).__doc__
    for word in (*interfaces.TAGS, *CHECKS):
        assert f"\n| `{word}` | " in PLUGINS
    assert all(check.summary.endswith((".", "``")) for check in CHECKS.values())


def test_the_version_is_the_one_documented() -> None:
    assert f"break a\nplugin; it is {INTERFACE_VERSION}." in PLUGINS
    assert f"scmrl_interface = {INTERFACE_VERSION}\n" in PLUGINS
