"""Which checks a component is asked, how they end, and how pytest runs them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_runs import fork_pytest, fork_python
from plugin_site import PluginSite
from wrong.backbone import TiedWeights
from wrong.encoder import Encoder
from wrong.fusion import Fusion
from wrong.loss import Loss
from wrong.neuron import Neuron
from wrong.readout import Readout
from wrong.register import PLUGIN, subject_of

from scmrl_plugins.core.interfaces import ComponentConfig, Context, ModelConfig
from scmrl_plugins.registry import KINDS, Entry, UserError, catalogue
from scmrl_plugins.registry.catalogue import INLINE
from scmrl_plugins.testing import (
    CHECKS,
    Check,
    NotApplicableError,
    Result,
    Subject,
    checks_for,
    parametrize_with_checks,
    run_checks,
    subjects,
)


def asked(kind: str, cls: type, **settings: Any) -> set[str]:
    return {check.name for check in checks_for(subject_of(kind, cls, **settings))}


def tagged(base: type, *tags: str) -> type:
    return type("Tagged", (base,), {"tags": frozenset(tags)})


def results_of(cls: type, kind: str = "loss") -> dict[str, Result]:
    return {result.check: result for result in run_checks(subject_of(kind, cls))}


# Which checks


def test_checks_have_a_summary_and_kinds() -> None:
    for name, check in CHECKS.items():
        assert name == check.name
        assert name.startswith("check_")
        assert check.summary
        assert "\n" not in check.summary
        assert set(check.kinds) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_built_in_gets_the_checks_of_its_kind(kind: str) -> None:
    name = "av-digits" if kind == "dataset" else catalogue().names(kind)[0]
    (subject,) = (subject for subject in subjects(name) if subject.kind == kind)
    for check in CHECKS.values():
        asked = kind in check.kinds and check.applies_to(subject.cls, subject.tags)
        assert (check in checks_for(subject)) == asked
    assert all(kind in check.kinds for check in checks_for(subject))
    assert {"check_tags_are_known", "check_saved_and_loaded"} <= {check.name for check in checks_for(subject)}


@pytest.mark.parametrize(
    ("kind", "base", "tag", "spared"),
    [
        ("neuron", Neuron, "no-compile", {"check_compiles"}),
        ("fusion", Fusion, "no-compile", {"check_compiles"}),
        ("neuron", Neuron, "analogue", {"check_spikes_are_binary"}),
        ("neuron", Neuron, "stochastic", {"check_halves", "check_batch_permutation"}),
        ("encoder", Encoder, "stochastic", {"check_batch_permutation"}),
        ("fusion", Fusion, "stochastic", {"check_batch_permutation"}),
        ("loss", Loss, "stochastic", set()),
        ("neuron", Neuron, "memoryless", set()),
        ("fusion", Fusion, "equal-tokens", set()),
    ],
)
def test_a_tag_spares_its_checks(kind: str, base: type, tag: str, spared: set[str]) -> None:
    assert asked(kind, base) - asked(kind, tagged(base, tag)) == spared


class TaggedBySetting(Neuron):
    class Config(ComponentConfig):
        graded: bool = False

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__(config, context)
        self.tags = frozenset({"analogue"} if config.graded else ())


def test_tags_may_depend_on_the_settings() -> None:
    assert "check_spikes_are_binary" in asked("neuron", TaggedBySetting)
    assert "check_spikes_are_binary" not in asked("neuron", TaggedBySetting, options={"graded": True})


# How they end


class Raises(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        raise ValueError("no\n  such luck")


class Exits(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        sys.exit("goodbye")


class Interrupts(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        raise KeyboardInterrupt


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class RaisesUnspeakably(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        raise UnspeakableError


class Asserts(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        raise AssertionError


class NoTags(Loss):
    tags = None


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Raises, "ValueError: no such luck (/"),
        (Exits, "SystemExit: goodbye (/"),
        (RaisesUnspeakably, "UnspeakableError (/"),
        (Asserts, f"{Path(__file__).name}, line "),
    ],
)
def test_a_component_that_cannot_be_built_fails_its_checks(cls: type, words: str) -> None:
    found = results_of(cls)
    assert found.keys() == asked("loss", Loss)
    assert {name for name, result in found.items() if result.outcome == "passed"} == {
        "check_registers_without_problems",
        "check_registration_imports_no_torch",
        "check_configuration_round_trip",
        "check_unknown_setting_is_refused",
        "check_every_choice_runs",
    }
    for result in found.values():
        assert result.outcome == "passed" or words in result.reason
        assert "\n" not in result.reason


def test_unknown_tags_are_reported() -> None:
    found = next(r for r in run_checks(subject_of("loss", NoTags)) if r.check == "check_tags_are_known")
    assert (found.outcome, found.reason) == ("failed", "tags is NoneType, expected a set")


def test_an_interruption_is_the_users() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(run_checks(subject_of("loss", Interrupts)))


@pytest.mark.parametrize("source", ["raise RuntimeError('broken')", "import sys\nsys.exit(3)", "class Mine: ..."])
def test_a_component_that_cannot_be_imported_fails_its_checks(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kit_broken_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        subject = Subject(Entry("dataset", "mine", "kit_broken_module:Mine", "mine", PLUGIN))
        found = {result.check: result for result in run_checks(subject)}
    finally:
        sys.modules.pop("kit_broken_module", None)
    assert found.keys() == {name for name, check in CHECKS.items() if "dataset" in check.kinds}
    for name in ("check_tags_are_known", "check_building_touches_no_file", "check_transform"):
        assert found[name].outcome == "failed"
        assert "kit_broken_module:Mine" in found[name].reason


def test_the_fields_of_a_result() -> None:
    found = results_of(tagged(TiedWeights, "no-compile"), "backbone")
    assert found["check_tags_are_known"] == Result(
        "backbone", "Tagged", "wrong", "check_tags_are_known", "passed", ""
    )
    failed = found["check_saved_and_loaded"]
    assert failed.outcome == "failed"
    assert "share memory" in failed.reason


def test_what_does_not_apply_is_skipped() -> None:
    subject = subject_of("loss", tagged(Loss, "no-compile"))
    inline = Subject(dataclasses.replace(subject.entry, plugin=dataclasses.replace(PLUGIN, distribution=INLINE)))
    found = {result.check: result for result in run_checks(inline)}
    skipped = {name: result.reason for name, result in found.items() if result.outcome == "skipped"}
    assert skipped == {"check_registration_imports_no_torch": "registered by hand, not by an installed plugin"}
    with pytest.raises(NotApplicableError):
        CHECKS["check_registration_imports_no_torch"](inline)


# Which components


def shown(*names: str, **settings: Any) -> list[str]:
    return [str(subject) for subject in subjects(*names, **settings)]


def test_subjects_are_found_by_name() -> None:
    assert shown("late") == ["fusion-late"]
    assert shown("fusions:late") == ["fusion-late"]
    assert shown("late", "ce", "fusions:late") == ["fusion-late", "loss-ce"]
    assert shown() == []


def test_subjects_are_found_by_distribution_or_plugin() -> None:
    everything = shown(package="scmrl-plugins")
    assert everything == shown(package="SCMRL_plugins")
    assert len(everything) == len(set(everything)) == sum(entry.plugin.builtin for entry in catalogue().entries)
    assert set(shown(package="fusions")) < set(everything)
    assert shown("late", package="fusions").count("fusion-late") == 1


def test_subjects_take_settings() -> None:
    (subject,) = subjects("lif", options={"tau": 3.0}, model=ModelConfig(steps=5))
    assert subject.config().tau == 3.0
    assert subject.context().steps == 5


def test_the_name_of_a_third_party_is_qualified(site: PluginSite) -> None:
    site.add_good("mine")
    assert shown("mine") == shown("mine:mine") == shown(package="scmrl_mine") == ["fusion-mine:mine"]


@pytest.mark.parametrize(
    ("names", "package", "words"),
    [
        (("laet",), None, "no component 'laet' (did you mean 'late'"),
        (("fusions:laet",), None, "no component 'fusions:laet' (did you mean 'fusions:late'"),
        (("zzzzzzzz",), None, "no component 'zzzzzzzz'; scmrl plugins lists them"),
        ((), "scmrl-plugin", "no plugin of 'scmrl-plugin' is installed (did you mean 'scmrl-plugins'"),
    ],
)
def test_unknown_names_are_refused(names: tuple[str, ...], package: str | None, words: str) -> None:
    with pytest.raises(UserError) as caught:
        subjects(*names, package=package)
    assert words in str(caught.value)


def test_a_plugin_that_does_not_load_says_why(site: PluginSite) -> None:
    site.add("scmrl-broken", {"broken": "scmrl_broken"}, scmrl_broken="raise RuntimeError('out of order')")
    with pytest.raises(UserError, match=r"scmrl-broken: RuntimeError: out of order"):
        subjects(package="scmrl-broken")
    with pytest.raises(UserError, match=r"plugins with problems: broken"):
        subjects("zzzzzzzz")


# In pytest


def test_the_decorator_names_every_check_of_every_component() -> None:
    def test(subject: Subject, check: Check) -> None: ...

    (mark,) = parametrize_with_checks("late", "ce", also=[subject_of("readout", Readout)])(test).pytestmark
    ids = [parameter.id for parameter in mark.args[1]]
    assert mark.args[0] == ("subject", "check")
    assert {"fusion-late-compiles", "loss-ce-empty_batch", "readout-wrong:Readout-logits"} <= set(ids)
    assert (
        len(ids)
        == len(set(ids))
        == sum(len(checks_for(subject)) for subject in [*subjects("late", "ce"), subject_of("readout", Readout)])
    )


@pytest.mark.parametrize("expected", [{"check_nothing": "why"}, {"empty_batch": "without its check_"}])
def test_an_unknown_expected_failure_is_refused(expected: Mapping[str, str]) -> None:
    with pytest.raises(UserError, match=f"expected_failed_checks: no check '{next(iter(expected))}'"):
        parametrize_with_checks("ce", expected_failed_checks=expected)


USERS_TESTS = '''
import sys
from scmrl_plugins.registry import catalogue, register_inline
from scmrl_plugins.testing import parametrize_with_checks

Loss = catalogue().get("loss", "ce").load()

class Empty(Loss):
    """Is not a number for no samples."""

    def forward(self, output, target):
        return super().forward(output, target) / len(target)

class Exits(Loss):
    def __init__(self, config, context):
        sys.exit(0)

register_inline("loss", "empty", Empty)
register_inline("loss", "exits", Exits)

@parametrize_with_checks("ce")
def test_built_in(subject, check):
    check(subject)

@parametrize_with_checks(
    "inline:empty",
    expected_failed_checks={"check_empty_batch": "not a number yet", "check_half_precision": "by mistake"},
)
def test_mine(subject, check):
    check(subject)

@parametrize_with_checks("exits")
def test_exits(subject, check):
    check(subject)
'''


@pytest.mark.slow
def test_a_users_tests_run(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(USERS_TESTS)
    chosen = "batch or half or imports_no_torch or (exits and finite)"
    done = fork_pytest("-rA", "-q", "-k", chosen, cwd=tmp_path)
    assert done.code == 1, done.out + done.err
    summary = done.out.partition("short test summary info")[2].splitlines()
    outcomes = {
        words[1].partition("::")[2]: words[0]
        for line in summary
        if len(words := line.split()) > 1 and "::" in line
    }
    mine, theirs = "test_mine[loss-inline:empty-", "test_built_in[loss-ce-"
    assert {name: outcomes[name] for name in outcomes if name.startswith(theirs)} == dict.fromkeys(
        [f"{theirs}{check}]" for check in ("empty_batch", "one_class_batch", "half_precision")]
        + [f"{theirs}registration_imports_no_torch]"],
        "PASSED",
    )
    assert outcomes[f"{mine}one_class_batch]"] == "PASSED"
    assert outcomes[f"{mine}empty_batch]"] == "XFAIL"
    assert outcomes[f"{mine}half_precision]"] == "FAILED"
    assert "[XPASS(strict)] by mistake" in done.out
    assert "registered by hand, not by an installed plugin" in done.out
    assert outcomes["test_exits[loss-inline:exits-finite_scalar]"] == "FAILED"
    assert "SystemExit" in done.out


@pytest.mark.slow
def test_the_kit_imports_no_pytest() -> None:
    assert fork_python("import sys, scmrl_plugins.testing; sys.exit('pytest' in sys.modules)").code == 0
