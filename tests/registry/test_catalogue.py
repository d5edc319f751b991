from __future__ import annotations

import pytest

from scmrl_plugins.registry import KINDS, Broken, Catalogue, Entry, Plugin, UserError, discover

BUILTIN = Plugin("fusions", "scmrl-plugins", "0.1.0", builtin=True)
THEIRS = Plugin("gated", "scmrl-gated", "1.0")
OTHERS = Plugin("tensor", "scmrl-tensor", "2.0")


def make(*registered: tuple[Plugin, str, str]) -> Catalogue:
    """A catalogue in which each plugin registered the (kind, name) pairs given for it, in that order."""
    found = Catalogue()
    for plugin in dict.fromkeys(plugin for plugin, _, _ in registered):
        found.add(
            plugin,
            [Entry(kind, name, "m:C", "one line", p) for p, kind, name in registered if p == plugin],
        )
    return found


def test_a_bare_name_means_the_built_in_first() -> None:
    found = make((BUILTIN, "fusion", "cmrl"), (THEIRS, "fusion", "cmrl"))
    assert found.get("fusion", "cmrl").plugin == BUILTIN


def test_a_qualified_name_means_one_plugins_component() -> None:
    found = make((BUILTIN, "fusion", "cmrl"), (THEIRS, "fusion", "cmrl"))
    assert found.get("fusion", "gated:cmrl").plugin == THEIRS
    assert found.get("fusion", "fusions:cmrl").plugin == BUILTIN


def test_a_unique_third_party_needs_no_prefix_and_is_no_problem() -> None:
    found = make((BUILTIN, "fusion", "cmrl"), (THEIRS, "fusion", "gate"))
    assert found.get("fusion", "gate").plugin == THEIRS
    assert found.get("fusion", "gated:gate").plugin == THEIRS
    assert found.broken == []


def test_the_same_name_in_another_kind_is_no_clash() -> None:
    found = make((BUILTIN, "fusion", "cmrl"), (THEIRS, "loss", "cmrl"))
    assert found.broken == []
    assert found.get("loss", "cmrl").plugin == THEIRS


def test_shadowing_a_built_in_is_reported_with_the_name_that_works() -> None:
    found = make((BUILTIN, "fusion", "cmrl"), (THEIRS, "fusion", "cmrl"))
    (broken,) = found.broken
    assert (broken.name, broken.distribution) == ("gated", "scmrl-gated")
    assert "fusion 'cmrl'" in broken.error
    assert "the built-in" in broken.error
    assert "'gated:cmrl'" in broken.error


def test_two_third_parties_with_one_name_are_reported_and_the_bare_name_is_refused() -> None:
    found = make((THEIRS, "fusion", "gate"), (OTHERS, "fusion", "gate"))
    (broken,) = found.broken
    assert broken.name == "tensor"
    assert "plugin 'gated'" in broken.error
    with pytest.raises(UserError, match="'gate' is ambiguous: write 'gated:gate' or 'tensor:gate'"):
        found.get("fusion", "gate")
    assert found.get("fusion", "gated:gate").plugin == THEIRS
    assert found.get("fusion", "tensor:gate").plugin == OTHERS


def test_names_are_those_that_get_understands() -> None:
    found = make(
        (BUILTIN, "fusion", "late"),
        (BUILTIN, "fusion", "cmrl"),
        (BUILTIN, "loss", "ce"),
        (THEIRS, "fusion", "cmrl"),
        (THEIRS, "fusion", "gate"),
        (OTHERS, "fusion", "gate"),
        (OTHERS, "fusion", "own"),
    )
    assert found.names("fusion") == ["cmrl", "gated:cmrl", "gated:gate", "late", "own", "tensor:gate"]
    assert found.names("loss") == ["ce"]
    for name in found.names("fusion"):
        assert found.get("fusion", name) in found.entries


def test_an_unknown_kind_is_refused_with_a_near_match_and_the_kinds() -> None:
    with pytest.raises(UserError) as caught:
        make((BUILTIN, "fusion", "cmrl")).get("fuson", "cmrl")
    assert "unknown kind 'fuson' (did you mean 'fusion'?)" in str(caught.value)
    assert all(kind in str(caught.value) for kind in KINDS)


@pytest.mark.parametrize(
    ("typed", "meant"), [("cmlr", "'cmrl'"), ("gated:gat", "'gated:gate'"), ("gat", "'gate'")]
)
def test_an_unknown_name_is_refused_with_near_matches(typed: str, meant: str) -> None:
    found = make((BUILTIN, "fusion", "cmrl"), (THEIRS, "fusion", "gate"))
    with pytest.raises(UserError) as caught:
        found.get("fusion", typed)
    assert f"unknown fusion {typed!r} (did you mean" in str(caught.value)
    assert meant in str(caught.value)
    assert "problems" not in str(caught.value)
    assert "SCMRL_DISABLE_PLUGINS" not in str(caught.value)


def test_an_unknown_name_like_no_other_says_where_names_are_listed() -> None:
    with pytest.raises(UserError, match="unknown dataset 'xyzzy'; run scmrl data list for all"):
        make((BUILTIN, "dataset", "blobs")).get("dataset", "xyzzy")
    with pytest.raises(UserError, match="unknown fusion 'xyzzy'; run scmrl plugins"):
        make((BUILTIN, "fusion", "cmrl")).get("fusion", "xyzzy")


def test_a_name_of_another_kind_is_unknown() -> None:
    with pytest.raises(UserError, match="unknown loss 'cmrl'"):
        make((BUILTIN, "fusion", "cmrl")).get("loss", "cmrl")


def test_an_unknown_name_mentions_plugins_that_failed_and_that_are_switched_off() -> None:
    found = make((BUILTIN, "fusion", "cmrl"))
    found.broken += [Broken("tensor", "scmrl-tensor", "ImportError: x"), Broken("tensor", "scmrl-tensor", "y")]
    found.disabled.append(THEIRS)
    with pytest.raises(UserError) as caught:
        found.get("fusion", "gate")
    assert "plugins with problems: tensor (scmrl plugins says why)" in str(caught.value)
    assert "switched off by SCMRL_DISABLE_PLUGINS: gated" in str(caught.value)


def test_without_the_built_ins_the_message_is_that_nothing_is_installed() -> None:
    with pytest.raises(UserError, match="scmrl-plugins is not installed"):
        Catalogue().get("fusion", "cmrl")


def test_every_name_of_the_real_catalogue_loads_a_component() -> None:
    found = discover()
    for kind in KINDS:
        assert found.names(kind), kind
        for name in found.names(kind):
            entry = found.get(kind, name)
            if entry.plugin.builtin:
                assert hasattr(entry.load(), "Config")
                assert entry.summary


def test_the_built_ins_are_complete() -> None:
    found = discover()
    ours = {plugin.name for plugin in found.plugins if plugin.builtin}
    assert ours == {
        "backbones",
        "braincog",
        "datasets",
        "encoders",
        "fusions",
        "losses",
        "modulations",
        "neurons",
        "readouts",
    }
    assert not [broken for broken in found.broken if broken.distribution == "scmrl-plugins"]
