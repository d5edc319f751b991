"""Every built-in component conforms."""

from __future__ import annotations

from dataclasses import replace

from scmrl_plugins.registry import KINDS
from scmrl_plugins.testing import Check, Subject, parametrize_with_checks, subjects

TRACED = ("backbone", "fusion")
"""Kinds made of the same layers: their derivatives are compiled in one, of the others the graphs are traced."""


@parametrize_with_checks(package="scmrl-plugins")
def test_a_built_in_conforms(subject: Subject, check: Check) -> None:
    if subject.kind in TRACED and str(subject) != "backbone-spikformer":
        subject = replace(subject, compiler="eager")
    check(subject)


def test_built_ins_of_every_kind_are_checked() -> None:
    assert {subject.kind for subject in subjects(package="scmrl-plugins")} == set(KINDS)
