"""Discovery of real distributions on disk: a bad plugin is recorded, gives nothing, and harms nobody."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import pytest
from plugin_site import PluginSite

from scmrl_plugins.registry import GROUP, Broken, Catalogue, UserError, discover

HEAD = "from scmrl_plugins import hookimpl\n@hookimpl\n"


def hook(*calls: str, head: str = HEAD) -> str:
    """A module whose hook does these calls."""
    return head + "def scmrl_register(register):\n" + "".join(f"    {call}\n" for call in calls)


FINE = 'register("fusion", "fine", "m:Fine", "registered before the mistake")'

# What is wrong: the module's source, and words of the error.
BAD = {
    "import error": ("import a_module_that_is_not_there", ["ModuleNotFoundError", "a_module_that_is_not_there"]),
    "syntax error": ("def broken(:", ["SyntaxError"]),
    "exit at import": ("raise SystemExit(5)", ["SystemExit: 5"]),
    "exception of many lines": ("raise ValueError('one\\ntwo')", ["ValueError: one two"]),
    "exception without words": (
        "class Mute(BaseException):\n    def __str__(self): raise RuntimeError\nraise Mute",
        ["Mute"],
    ),
    "hook raises": (hook(FINE, "raise ZeroDivisionError('oh')"), ["ZeroDivisionError: oh"]),
    "hook exits": (hook(FINE, "raise SystemExit('bye')"), ["SystemExit: bye"]),
    "misspelt hook": (
        "from scmrl_plugins import hookimpl\n@hookimpl\ndef scmrl_registr(register): ...",
        ["PluginValidationError", "scmrl_registr"],
    ),
    "argument the hook does not have": (
        "from scmrl_plugins import hookimpl\n@hookimpl\ndef scmrl_register(register, extra): ...",
        ["PluginValidationError", "extra"],
    ),
    "no hook": ("x = 1", ["no hook scmrl_register", "@hookimpl"]),
    "hook without the mark": (hook(FINE, head=""), ["no hook scmrl_register", "@hookimpl"]),
    "wrong kind": (
        hook(FINE, 'register("fuson", "a", "m:C", "s")'),
        ["unknown kind (did you mean 'fusion'?)", "neuron, encoder"],
    ),
    "kind of another type": (hook(FINE, 'register([], "a", "m:C", "s")'), ["unknown kind"]),
    "empty name": (hook(FINE, 'register("fusion", "", "m:C", "s")'), ["a name is"]),
    "name with a colon": (hook(FINE, 'register("fusion", "a:b", "m:C", "s")'), ["'a:b'", "a name is"]),
    "name of another type": (hook(FINE, 'register("fusion", 7, "m:C", "s")'), ["a name is"]),
    "name with a new line": (hook(FINE, 'register("fusion", "a\\n", "m:C", "s")'), ["a name is"]),
    "target without attribute": (hook(FINE, 'register("fusion", "a", "m", "s")'), ["'m'", "module:attribute"]),
    "target that is a class": (hook(FINE, 'register("fusion", "a", dict, "s")'), ["module:attribute"]),
    "target with more behind it": (
        hook(FINE, 'register("fusion", "a", "m:C(1)", "s")'),
        ["'m:C(1)'", "module:attribute"],
    ),
    "target in a folder": (hook(FINE, 'register("fusion", "a", "../m:C", "s")'), ["module:attribute"]),
    "empty summary": (hook(FINE, 'register("fusion", "a", "m:C", "  ")'), ["summary is empty"]),
    "no summary": (hook(FINE, 'register("fusion", "a", "m:C")'), ["TypeError", "summary"]),
    "registered twice": (
        hook(FINE, 'register("fusion", "fine", "m:Other", "s")'),
        ["'fine'", "registered twice"],
    ),
}


def baseline() -> list[tuple[str, str, str]]:
    """What is registered without the site's plugins."""
    return [(e.kind, e.name, e.plugin.name) for e in discover().entries]


def broken_of(found: Catalogue, distribution: str) -> list[Broken]:
    return [broken for broken in found.broken if broken.distribution == distribution]


@pytest.mark.parametrize("case", BAD)
def test_a_bad_plugin_is_recorded_gives_nothing_and_leaves_the_others(case: str, site: PluginSite) -> None:
    source, words = BAD[case]
    before = baseline()
    site.add("scmrl-bad", {"bad": "scmrl_bad"}, scmrl_bad=source)
    site.add_good("zebra")
    site.add_good("ant")

    found = discover()

    (broken,) = broken_of(found, "scmrl-bad")
    assert broken.name == "bad"
    assert "\n" not in broken.error
    for word in words:
        assert word in broken.error
    assert "bad" not in [plugin.name for plugin in found.plugins]
    theirs = [("fusion", "ant", "ant"), ("fusion", "zebra", "zebra")]
    assert sorted((e.kind, e.name, e.plugin.name) for e in found.entries) == sorted(before + theirs)
    with pytest.raises(UserError, match=r"plugins with problems: .*bad"):
        found.get("fusion", "fine")


def test_a_good_plugin_is_listed_with_its_distribution_version_and_file(site: PluginSite) -> None:
    site.add("Scmrl-Gated", {"gated": "scmrl_gated"}, version="2.3", scmrl_gated=hook(FINE))
    found = discover()
    (plugin,) = [plugin for plugin in found.plugins if plugin.name == "gated"]
    assert (plugin.distribution, plugin.version, plugin.builtin) == ("Scmrl-Gated", "2.3", False)
    assert plugin.file == str(site.folder / "scmrl_gated.py")
    entry = found.get("fusion", "fine")
    assert (entry.target, entry.summary, entry.plugin) == ("m:Fine", "registered before the mistake", plugin)
    assert broken_of(found, "Scmrl-Gated") == []


def test_the_target_is_not_imported(site: PluginSite) -> None:
    site.add_good("lazy")
    found = discover()
    assert found.get("fusion", "lazy").target == "scmrl_lazy_model:Thing"
    assert "scmrl_lazy_model" not in sys.modules


def test_a_hook_that_registers_nothing_is_no_mistake(site: PluginSite) -> None:
    site.add("scmrl-empty", {"empty": "scmrl_empty"}, scmrl_empty=hook("pass"))
    found = discover()
    assert "empty" in [plugin.name for plugin in found.plugins]
    assert broken_of(found, "scmrl-empty") == []


def test_a_summary_of_many_lines_is_shown_as_one(site: PluginSite) -> None:
    call = 'register("fusion", "wordy", "m:C", " first\\n  second ")'
    site.add("scmrl-wordy", {"wordy": "scmrl_wordy"}, scmrl_wordy=hook(call))
    assert discover().get("fusion", "wordy").summary == "first second"


def test_an_object_in_a_module_can_be_the_plugin(site: PluginSite) -> None:
    source = """
        from scmrl_plugins import hookimpl

        class Plugin:
            @hookimpl
            def scmrl_register(self, register):
                register("fusion", "obj", "m:C", "s")

        plugin = Plugin()
    """
    site.add("scmrl-obj", {"obj": "scmrl_obj:plugin"}, scmrl_obj=source)
    assert discover().get("fusion", "obj").plugin.name == "obj"


def test_standard_output_stays_clean(site: PluginSite, capsys: pytest.CaptureFixture[str]) -> None:
    source = "print('hello from the import')\n" + hook("print('hello from the hook')", FINE)
    site.add("scmrl-chatty", {"chatty": "scmrl_chatty"}, scmrl_chatty=source)
    site.add("scmrl-rude", {"rude": "scmrl_rude"}, scmrl_rude="print('rude')\nraise SystemExit")
    found = discover()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split("\n") == ["hello from the import", "hello from the hook", "rude", ""]
    assert found.get("fusion", "fine").plugin.name == "chatty"
    print("still there")
    assert capsys.readouterr().out == "still there\n"


def test_of_two_distributions_with_one_plugin_name_the_second_is_refused(site: PluginSite) -> None:
    for distribution in ("scmrl-one", "scmrl-two"):
        module = distribution.replace("-", "_")
        call = f'register("fusion", "of-{distribution}", "m:C", "s")'
        site.add(distribution, {"same": module}, **{module: hook(call)})
    found = discover()
    assert [p.distribution for p in found.plugins if p.name == "same"] == ["scmrl-one"]
    assert "of-scmrl-one" in found.names("fusion")
    assert "of-scmrl-two" not in found.names("fusion")
    (broken,) = broken_of(found, "scmrl-two")
    assert broken.name == "same"
    assert "'same' is taken by scmrl-one" in broken.error


def test_a_plugin_name_of_ours_cannot_be_taken(site: PluginSite) -> None:
    site.add("a-first-in-the-alphabet", {"fusions": "scmrl_usurper"}, scmrl_usurper=hook(FINE))
    found = discover()
    assert found.get("fusion", "fusions:cmrl").plugin.builtin
    assert "fine" not in found.names("fusion")
    (broken,) = broken_of(found, "a-first-in-the-alphabet")
    assert "is taken by scmrl-plugins" in broken.error


def test_one_distribution_that_declares_a_name_twice_keeps_the_first(site: PluginSite) -> None:
    site.add(
        "scmrl-double",
        "[scmrl]\ndouble = scmrl_first\ndouble = scmrl_second\n",
        scmrl_first=hook('register("fusion", "first", "m:C", "s")'),
        scmrl_second=hook('register("fusion", "second", "m:C", "s")'),
    )
    found = discover()
    assert len([p for p in found.plugins if p.name == "double"]) == 1
    (broken,) = broken_of(found, "scmrl-double")
    assert "is taken" in broken.error


def test_the_same_entry_point_seen_twice_counts_once(site: PluginSite) -> None:
    site.add_good()
    points = [point for point in entry_points(group=GROUP) if point.name == "good"]
    found = discover(points * 2)
    assert [plugin.name for plugin in found.plugins] == ["good"]
    assert found.broken == []


def test_a_name_of_ours_stays_ours_and_theirs_is_used_with_its_prefix(site: PluginSite) -> None:
    calls = ('register("fusion", "cmrl", "m:Theirs", "s")', 'register("fusion", "unlike", "m:C", "s")')
    site.add("scmrl-shadow", {"shadow": "scmrl_shadow"}, scmrl_shadow=hook(*calls))
    found = discover()
    (broken,) = broken_of(found, "scmrl-shadow")
    assert "'shadow:cmrl'" in broken.error
    assert found.get("fusion", "cmrl").plugin.builtin
    assert found.get("fusion", "shadow:cmrl").target == "m:Theirs"
    assert found.get("fusion", "unlike").plugin.name == "shadow"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("scmrl_not_there_at_all", "ModuleNotFoundError"),
        ("scmrl_has:nothing", "AttributeError"),
        ("this is no entry point", "Error"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_recorded(site: PluginSite, value: str, word: str) -> None:
    site.add("scmrl-lost", {"lost": value}, scmrl_has="")
    site.add_good()
    found = discover()
    (broken,) = broken_of(found, "scmrl-lost")
    assert broken.name == "lost"
    assert word in broken.error
    assert "good" in found.names("fusion")


@pytest.mark.parametrize(
    "text", ["[scmrl]\nno equals sign\n", "[scmrl]\na = b\nno equals sign\n", b"\xff\xfe\x00"]
)
def test_a_damaged_list_of_entry_points_is_recorded(site: PluginSite, text: str | bytes) -> None:
    before = baseline()
    site.add("scmrl-damaged", "")
    place = site.folder / "scmrl_damaged-1.0.dist-info" / "entry_points.txt"
    place.write_bytes(text.encode() if isinstance(text, str) else text)
    site.add_good()
    found = discover()
    (broken,) = broken_of(found, "scmrl-damaged")
    assert "entry_points.txt" in broken.error
    assert sorted((e.kind, e.name, e.plugin.name) for e in found.entries) == sorted(
        [*before, ("fusion", "good", "good")]
    )


def test_what_half_an_uninstallation_leaves_is_recorded(site: PluginSite) -> None:
    site.add("scmrl-half", {"half": "scmrl_half_gone"})
    (site.folder / "scmrl_half-1.0.dist-info" / "METADATA").unlink()
    site.add_good()
    found = discover()
    (broken,) = [broken for broken in found.broken if broken.name == "half"]
    assert "ModuleNotFoundError" in broken.error
    assert "good" in found.names("fusion")
    assert found.get("fusion", "cmrl").plugin.builtin


def test_an_interrupt_ends_the_discovery(site: PluginSite) -> None:
    site.add("scmrl-slow", {"slow": "scmrl_slow"}, scmrl_slow="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("", {"ant", "bee"}),
        ("ant", {"bee"}),
        ("scmrl-ant", {"bee"}),
        (" ant , bee ", set()),
        ("all", set()),
        ("nobody", {"ant", "bee"}),
        ("fusions,braincog,scmrl-plugins", {"ant", "bee"}),
    ],
)
def test_third_parties_can_be_switched_off_and_we_cannot(
    site: PluginSite, monkeypatch: pytest.MonkeyPatch, value: str, left: set[str]
) -> None:
    ours = {plugin.name for plugin in discover().plugins if plugin.builtin}
    site.add_good("ant")
    site.add_good("bee")
    monkeypatch.setenv("SCMRL_DISABLE_PLUGINS", value)
    found = discover()
    names = {plugin.name for plugin in found.plugins}
    assert names & {"ant", "bee"} == left
    assert ours <= names
    assert {plugin.name for plugin in found.disabled} & {"ant", "bee"} == {"ant", "bee"} - left
    assert {"ant", "bee"} & set(found.names("fusion")) == left
    for name in {"ant", "bee"} - left:
        assert f"scmrl_{name}" not in sys.modules
        with pytest.raises(UserError, match=f"switched off by SCMRL_DISABLE_PLUGINS: .*{name}"):
            found.get("fusion", name)


def test_a_plugin_that_is_switched_off_is_not_even_imported(
    site: PluginSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("scmrl-bad", {"bad": "scmrl_bad"}, scmrl_bad="raise SystemExit")
    monkeypatch.setenv("SCMRL_DISABLE_PLUGINS", "bad")
    found = discover()
    assert broken_of(found, "scmrl-bad") == []


def test_an_entry_point_without_a_distribution_is_recorded_too() -> None:
    found = discover([EntryPoint("odd", "a_module_that_is_not_there", GROUP)])
    (broken,) = found.broken
    assert (broken.name, broken.distribution) == ("odd", "unknown")
