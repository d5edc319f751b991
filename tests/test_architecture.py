"""The shape of the package: small folders, classes and functions, and abilities read from base classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = ROOT / "scmrl_plugins"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES, CLASS, FUNCTION = 15, 200, 60
"""The most modules in a folder, and lines in a class and in a function, that a newcomer is asked to read."""


def trees(containing: str = "") -> Iterator[tuple[str, ast.Module]]:
    """The syntax of every module whose text contains some characters."""
    for file in FILES:
        if containing in (text := file.read_text(encoding="utf-8")):
            yield str(file.relative_to(ROOT)), ast.parse(text)


@pytest.mark.parametrize(
    "folder", sorted({file.parent for file in FILES}), ids=lambda folder: str(folder.relative_to(ROOT))
)
def test_a_folder_has_few_modules(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MODULES


def test_classes_and_functions_are_short() -> None:
    long = []
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                lines = (node.end_lineno or node.lineno) - first + 1
                if lines > (CLASS if isinstance(node, ast.ClassDef) else FUNCTION):
                    long.append(f"{file}: {node.name} has {lines} lines")
    assert long == []


def test_abilities_are_read_from_base_classes() -> None:
    """Only ``Component.adapt`` asks whether a class has an attribute that the base classes declare."""
    # Here, as importing the interfaces imports torch, which the tests above do without.
    from scmrl_plugins.core import interfaces
    from scmrl_plugins.registry.kinds import TABLE

    bases = [interfaces.Component, *(getattr(interfaces, kind.base.partition(":")[2]) for kind in TABLE.values())]
    declared = {name for base in bases for name in (*vars(base), *base.__annotations__)}
    abilities = {name for name in declared if not name.startswith("_")} | {"fold"}
    guesses = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in trees(containing="attr(")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr")
        and isinstance(node.args[1], ast.Constant)
        and node.args[1].value in abilities
    ]
    assert guesses == []
