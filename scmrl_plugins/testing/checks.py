"""The registry of conformance checks: plain functions, selected by a component's kind and tags."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from scmrl_plugins.core.data.transform import collect_repairs
from scmrl_plugins.testing.subject import Subject

Function = Callable[[Subject], None]


@dataclass(frozen=True)
class Check:
    """One check: a function that raises ``AssertionError`` for a component that does not conform."""

    name: str
    function: Function
    kinds: tuple[str, ...]
    unless: str | None
    """A tag that exempts a component."""
    only: Callable[[Any], bool] | None
    """Whether the check applies to a class; none: to every class."""

    @property
    def summary(self) -> str:
        """What the component promises: the docstring of the function."""
        return " ".join((self.function.__doc__ or "").split())

    def applies_to(self, cls: type, tags: Collection[str]) -> bool:
        """Whether the check applies to a class of one of its kinds with these tags."""
        return self.unless not in tags and (self.only is None or self.only(cls))

    def __call__(self, subject: Subject) -> None:
        with collect_repairs():  # a fixture may have files that need it
            self.function(subject)


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order in which they run."""


class NotApplicableError(Exception):
    """Raised by a check that cannot run on this component or on this machine."""


def check(
    *kinds: str, unless: str | None = None, only: Callable[[Any], bool] | None = None
) -> Callable[[Function], Function]:
    """Add a function to the checks of some kinds.

    Components with the tag ``unless`` are left out, and classes for which ``only`` is false.
    """

    def add(function: Function) -> Function:
        CHECKS[function.__name__] = Check(function.__name__, function, kinds, unless, only)
        return function

    return add


def fail(message: str) -> NoReturn:
    """Report that the component does not conform."""
    raise AssertionError(message)


def require(condition: bool, message: str) -> None:
    """Fail with the message unless the condition holds; unlike ``assert``, under ``python -O`` too."""
    if not condition:
        fail(message)


def agree(one: Tensor, two: Tensor) -> bool:
    """Whether two results of one equation, computed on different layouts, are equal up to rounding.

    The last bit depends on the position of a value in the processor's vectors, so only the same operations on the
    same layout give the same bits. Callers compute in float64: in float32 a rounding error can move a membrane
    across its threshold, and a spike is all or nothing.
    """
    return one.shape == two.shape and torch.allclose(one, two, equal_nan=True)


def require_gradient(name: str, x: Tensor) -> None:
    """Fail unless a tensor has a gradient that is finite and not zero everywhere."""
    require(x.grad is not None, f"{name} gets no gradient")
    assert x.grad is not None
    require(bool(torch.isfinite(x.grad).all()), f"the gradient of {name} is not finite")
    require(bool(x.grad.any()), f"the gradient of {name} is zero everywhere")
