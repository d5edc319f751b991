"""Components of the tests as if a plugin had registered them, and those that must fail a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scmrl_plugins.registry import Entry
from scmrl_plugins.registry.catalogue import Plugin
from scmrl_plugins.testing import Subject

PLUGIN = Plugin("wrong", "scmrl-wrong", "1.0")


@dataclass(frozen=True)
class Wrong:
    """A component, the checks that must fail of it, and some words that each then says."""

    kind: str
    cls: type
    says: Mapping[str, str]
    others: bool
    """Whether further checks fail, because nothing about it works."""


WRONG: list[Wrong] = []


def fails(*, others: bool = False, **says: str) -> Callable[[type], type]:
    """Class decorator: these checks fail, without their ``check_``, and say so in these words.

    The module of the class bears the name of its kind.
    """

    def add(cls: type) -> type:
        kind = cls.__module__.rpartition(".")[2]
        WRONG.append(Wrong(kind, cls, {f"check_{name}": words for name, words in says.items()}, others))
        return cls

    return add


def subject_of(kind: str, cls: type, **settings: Any) -> Subject:
    """A component of these modules, or of a test's, as if a plugin ``wrong`` had registered it."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    return Subject(Entry(kind, cls.__name__, target, "wrong", PLUGIN, cls), **settings)
