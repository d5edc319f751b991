"""The list of conformance checks: plain functions, chosen by a component's kind and tags."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from scmrl_plugins.core.data.transform import collect_repairs
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
    """A tag with which a component does not promise it."""
    only: str | None
    """An attribute of the class without which it does not."""

    @property
    def summary(self) -> str:
        """What conforming means, the function's docstring."""
        return " ".join((self.function.__doc__ or "").split())

    def applies_to(self, cls: type, tags: Collection[str]) -> bool:
        """Whether a class of one of the kinds, with these tags, promises what is checked."""
        return self.unless not in tags and (self.only is None or bool(getattr(cls, self.only)))

    def __call__(self, subject: Subject) -> None:
        with collect_repairs():  # a fixture may have files that need it
            self.function(subject)


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order in which they run."""


class NotApplicableError(Exception):
    """Raised in a check that cannot be made of this component, or on this machine."""


def check(*kinds: str, unless: str | None = None, only: str | None = None) -> Callable[[Function], Function]:
    """Add a function to the checks of some kinds, but not of components with the tag ``unless``, and only of
    classes whose attribute ``only`` is true.
    """

    def add(function: Function) -> Function:
        CHECKS[function.__name__] = Check(function.__name__, function, kinds, unless, only)
        return function

    return add


def fail(message: str) -> NoReturn:
    """The component does not conform."""
    raise AssertionError(message)


def require(condition: bool, message: str) -> None:
    """Fail with the message unless the condition holds; unlike ``assert``, under ``python -O`` too."""
    if not condition:
        fail(message)


def agree(one: Tensor, two: Tensor) -> bool:
    """Whether two results of one equation, computed on different layouts, are the same but for rounding.

    The last bit depends on a value's position in the processor's vectors, so nothing but a repetition of the same
    operations on the same layout is the same to the bit. Callers compute in float64: in float32 a rounding error
    can move a membrane over its threshold, and a spike is all or nothing.
    """
    return one.shape == two.shape and torch.allclose(one, two, equal_nan=True)
