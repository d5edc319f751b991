"""Every built-in component conforms."""

from __future__ import annotations

from scmrl_plugins.registry import KINDS
from scmrl_plugins.testing import Check, Subject, parametrize_with_checks, subjects


@parametrize_with_checks(package="scmrl-plugins")
def test_a_built_in_conforms(subject: Subject, check: Check) -> None:
    check(subject)


def test_built_ins_of_every_kind_are_checked() -> None:
    assert {subject.kind for subject in subjects(package="scmrl-plugins")} == set(KINDS)
