"""Runs the checks, for ``scmrl check`` or in pytest."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.testing.checks import CHECKS, Check, NotApplicableError
from scmrl_plugins.testing.selection import subjects
from scmrl_plugins.testing.subject import Subject


@dataclass(frozen=True)
class Result:
    """The outcome of one check of one component; ``reason`` is why it failed or was skipped."""

    kind: str
    component: str
    plugin: str
    check: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""


def checks_for(subject: Subject) -> list[Check]:
    """The checks that apply to the subject's kind, tags and class."""
    of_kind = [check for check in CHECKS.values() if subject.kind in check.kinds]
    try:
        cls, tags = subject.cls, subject.tags
    except KeyboardInterrupt:
        raise
    except BaseException:  # it cannot be built: every check reports that
        return of_kind
    return [check for check in of_kind if check.applies_to(cls, tags)]


def probe(subject: Subject) -> str | None:
    """Why a component cannot be loaded, built with its defaults and run once; none if it can."""
    outcome, reason = _run(CHECKS[subject.row.probe], subject)
    if outcome != "failed":
        return None
    return reason if str(subject.entry) in reason else f"{subject.entry}: {reason}; {subject.entry.plugin.remedy}"


def run_checks(subject: Subject) -> Iterator[Result]:
    """Run every check that applies, whatever the component raises."""
    entry = subject.entry
    for check in checks_for(subject):
        outcome, reason = _run(check, subject)
        yield Result(entry.kind, entry.name, entry.plugin.name, check.name, outcome, reason)


def _run(check: Check, subject: Subject) -> tuple[Literal["passed", "failed", "skipped"], str]:
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            check(subject)
    except NotApplicableError as reason:
        return "skipped", str(reason)
    except (AssertionError, UserError) as error:
        return "failed", " ".join(str(error).split()) or _where(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a component may raise anything, even SystemExit
        return "failed", f"{describe(error)} ({_where(error)})"
    return "passed", ""


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}, line {last.lineno}"


def parametrize_with_checks(
    *names: str,
    package: str | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    also: Iterable[Subject] = (),
    **settings: Any,
) -> Callable[[Any], Any]:
    """Decorate a pytest test of ``subject`` and ``check``: it runs once for every check of every component.

    ``names`` are names of components, ``package`` a distribution, ``settings`` go to each ``Subject``
    (``options``, ``model``). ``expected_failed_checks`` maps the names of checks to reasons:
    these checks must fail, and a success is reported as a failure. The body of the test is ``check(subject)``::

        @parametrize_with_checks(package="scmrl-gated")
        def test_conforms(subject, check):
            check(subject)
    """
    import pytest

    expected = dict(expected_failed_checks or {})
    if unknown := expected.keys() - CHECKS.keys():
        raise UserError(f"expected_failed_checks: no check {min(unknown)!r}")
    parameters = []
    for subject in [*subjects(*names, package=package, **settings), *also]:
        for check in checks_for(subject):
            marks = [pytest.mark.xfail(reason=expected[check.name], strict=True)] if check.name in expected else []
            name = f"{subject}-{check.name.removeprefix('check_')}"
            parameters.append(pytest.param(subject, _Skipping(check), id=name, marks=marks))
    return pytest.mark.parametrize(("subject", "check"), parameters)


@dataclass(frozen=True)
class _Skipping:
    """A check that skips the test if it is not applicable."""

    check: Check

    def __call__(self, subject: Subject) -> None:
        import pytest

        try:
            with torch.random.fork_rng(devices=[]):
                self.check(subject)
        except NotApplicableError as reason:
            pytest.skip(str(reason))
