"""A component's target is imported when it is built, and a bad one is one line that names its plugin."""

from __future__ import annotations

import sys

import pytest
from plugin_site import PluginSite

from scmrl_plugins.registry import Entry, Plugin, UserError

PLUGIN = Plugin("gated", "scmrl-gated", "1.5")


def entry(target: str) -> Entry:
    return Entry("fusion", "gate", target, "one line", PLUGIN)


def test_the_class_is_found_also_inside_another(site: PluginSite) -> None:
    site.add(
        "d",
        {},
        lazily_loaded="from pydantic import BaseModel\n"
        "class Gate:\n    class Config(BaseModel): ...\n"
        "class Outer:\n    Inner = Gate\n",
    )
    assert entry("lazily_loaded:Gate").load() is sys.modules["lazily_loaded"].Gate
    assert entry("lazily_loaded:Outer.Inner").load() is sys.modules["lazily_loaded"].Gate


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (None, "not_there_at_all:Gate", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("", "bad_target:Gate", "AttributeError"),
        ("class Gate: ...", "bad_target:Gate.Inner", "AttributeError"),
        ("import sys; sys.exit(7)", "bad_target:Gate", "SystemExit: 7"),
        ("raise RuntimeError('two\\nlines')", "bad_target:Gate", "RuntimeError: two lines"),
        ("def broken(:", "bad_target:Gate", "SyntaxError"),
        (
            "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
            "bad_target:Gate",
            "Mute",
        ),
        ("class Gate: ...", "bad_target:Gate", "not a class with a Config"),
        ("def Gate(config): ...\nGate.Config = object", "bad_target:Gate", "not a class with a Config"),
        ("class Gate:\n    Config = dict", "bad_target:Gate", "not a class with a Config"),
        ("Gate = 3", "bad_target:Gate", "not a class with a Config"),
    ],
)
def test_a_bad_target_is_one_line_with_component_plugin_and_distribution(
    site: PluginSite, source: str | None, target: str, words: str
) -> None:
    if source is not None:
        site.add("d", {}, bad_target=source)
    with pytest.raises(UserError) as caught:
        entry(target).load()
    message = str(caught.value)
    assert words in message
    assert "fusion 'gate' of plugin 'gated' (scmrl-gated 1.5)" in message
    assert target in message
    assert "\n" not in message


def test_an_interrupt_is_not_taken_for_a_bad_plugin(site: PluginSite) -> None:
    site.add("d", {}, interrupted="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        entry("interrupted:Gate").load()
