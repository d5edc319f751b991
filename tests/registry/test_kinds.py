"""The table of kinds: each row is complete, and a row more is a kind more."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import gate_kind
import pytest
import torch

import scmrl_plugins.scaffold
from scmrl_plugins.cli.common import options
from scmrl_plugins.core.config import merging, sections
from scmrl_plugins.core.interfaces import Component
from scmrl_plugins.registry import KINDS, UserError, catalogue, register_inline
from scmrl_plugins.registry.kinds import TABLE
from scmrl_plugins.scaffold import package
from scmrl_plugins.testing import CHECKS, Subject

TEMPLATES = Path(scmrl_plugins.scaffold.__path__[0]) / "templates"


@pytest.mark.parametrize("name", KINDS)
def test_a_row_names_what_there_is(name: str) -> None:
    kind = TABLE[name]
    assert kind.name == name
    base = pkgutil.resolve_name(kind.base)
    assert issubclass(base, Component)
    assert issubclass(base, torch.nn.Module) == kind.is_module
    assert kind.repeats or catalogue().get(name, kind.default).plugin.builtin
    assert kind.probe in CHECKS
    assert not kind.before or catalogue().get(name, kind.before).plugin.builtin
    assert all(issubclass(entry.load(), base) for entry in catalogue().entries if entry.kind == name)
    assert hasattr(importlib.import_module(kind.checks), "inputs") == kind.in_model
    assert {folder for folder in ("kinds", "tests") if (TEMPLATES / folder / f"{name}.py.txt").is_file()} == {
        "kinds",
        "tests",
    }


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(TABLE, "gate", gate_kind.KIND)  # type: ignore[arg-type]
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


@pytest.mark.usefixtures("gate")
def test_a_kind_more_is_registered_with_the_defaults_of_its_base_class() -> None:
    entry = register_inline("gate", "open", gate_kind.Open)
    assert catalogue().get("gate", "open") == entry
    cls = entry.load()
    assert cls is gate_kind.Open
    assert (cls.bias, cls.closed, cls.tags) == (0.5, gate_kind.Gate.closed, frozenset())
    with pytest.raises(UserError, match="did you mean 'gate'"):
        register_inline("gat", "open", gate_kind.Open)


@pytest.mark.usefixtures("gate")
def test_a_kind_more_is_a_section_and_an_option() -> None:
    assert sections.kind_sections(TABLE.values())["gate"][1] == sections.ComponentSection(name="open")
    assert merging.merge([]).data["gate"] == {"name": "open"}

    @click.command
    @options.experiment
    def command(**_values: object) -> None: ...

    (option,) = (parameter for parameter in command.params if "--gate" in parameter.opts)
    assert option.name == "gate"
    assert package.names("ajar", "gate").options == "--gate ajar"


@pytest.mark.usefixtures("gate")
def test_a_component_of_a_kind_more_is_built_and_called_by_the_conformance_kit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks = ModuleType(gate_kind.KIND.checks)
    checks.inputs = lambda draw: (draw.spikes(draw.visual_tokens),)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, gate_kind.KIND.checks, checks)
    subject = Subject(register_inline("gate", "open", gate_kind.Open), options={"scale": 2.0})
    (x,) = subject.inputs()
    assert torch.equal(subject.build()(x), 2 * x)
    assert subject.tags == frozenset()
