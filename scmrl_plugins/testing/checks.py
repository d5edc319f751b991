"""The list of conformance checks: plain functions, chosen by a component's kind and tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from scmrl_plugins.registry import KINDS
from scmrl_plugins.testing.subject import Subject

Function = Callable[[Subject], None]
MODULES = tuple(kind for kind in KINDS if kind != "dataset")
"""The kinds that are torch modules."""


@dataclass(frozen=True)
class Check:
    """One check: a function that raises ``AssertionError`` for a component that does not conform."""

    name: str
    function: Function
    kinds: tuple[str, ...]
    unless: str | None

    @property
    def summary(self) -> str:
        """What conforming means, the function's docstring."""
        return " ".join((self.function.__doc__ or "").split())

    def applies(self, subject: Subject) -> bool:
        """Whether the subject promises what is checked."""
        return subject.kind in self.kinds and self.unless not in subject.tags

    def __call__(self, subject: Subject) -> None:
        self.function(subject)


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order in which they run."""


class NotApplicableError(Exception):
    """Raised in a check that cannot be made of this component, or on this machine."""


def check(*kinds: str, unless: str | None = None) -> Callable[[Function], Function]:
    """Add a function to the checks of some kinds, except of components with the tag ``unless``."""

    def add(function: Function) -> Function:
        CHECKS[function.__name__] = Check(function.__name__, function, kinds, unless)
        return function

    return add


def fail(message: str) -> NoReturn:
    """The component does not conform."""
    raise AssertionError(message)


def require(condition: bool, message: str) -> None:
    """Fail with the message unless the condition holds; unlike ``assert``, under ``python -O`` too."""
    if not condition:
        fail(message)
