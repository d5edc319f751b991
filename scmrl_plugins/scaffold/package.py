"""A new plugin as a package of its own, filled in from the templates of its kind."""

from __future__ import annotations

import ast
import importlib.resources
import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from scmrl_plugins import __version__
from scmrl_plugins.registry import INTERFACE_VERSION, UserError, catalogue
from scmrl_plugins.registry.kinds import TABLE

_TEMPLATES = importlib.resources.files("scmrl_plugins.scaffold") / "templates"
_PREFIX = "scmrl-"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Names:
    """What a new component of a kind and its package are called: ``gated`` is in ``scmrl-gated``."""

    kind: str
    component: str
    """Of the component and of the plugin, its entry point: lower-case words joined by dashes."""

    @property
    def distribution(self) -> str:
        return f"{_PREFIX}{self.component}"

    @property
    def package(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def module(self) -> str:
        return self.component.replace("-", "_")

    @property
    def cls(self) -> str:
        return "".join(word.capitalize() for word in self.component.split("-"))

    @property
    def options(self) -> str:
        """What chooses the component on the command line."""
        return TABLE[self.kind].options.format(kind=self.kind, name=self.component)

    @property
    def setting(self) -> str:
        """The form of one of its settings."""
        section = f"{self.kind}.{self.component}" if TABLE[self.kind].repeats else self.kind
        return f"{section}.FIELD=VALUE"


def names(name: str, kind: str) -> Names:
    """The names for what a user calls ``gated``, ``scmrl-gated`` or ``scmrl_gated``.

    Raises ``UserError`` for a name that no package or class can have, or that something installed has.
    """
    if kind not in TABLE:
        raise UserError(f"kind {kind!r}: kinds are {', '.join(TABLE)}")
    component = name.lower().replace("_", "-").removeprefix(_PREFIX)
    chosen = Names(kind, component)
    if complaint := _complaint(chosen):
        raise UserError(f"name {name!r}: {complaint}; choose another such as gated")
    return chosen


def _complaint(chosen: Names) -> str | None:
    name = chosen.component
    if not name:
        return "is empty"
    if name[0].isdigit():
        return "starts with a digit"
    if not _NAME.fullmatch(name):
        return "a name is letters and digits, words joined by single dashes"
    if keyword.iskeyword(chosen.module) or keyword.iskeyword(chosen.cls):
        return f"{name!r} is a word of Python's own"
    if chosen.package == __package__.partition(".")[0]:
        return f"{chosen.distribution} is this framework itself"
    found = catalogue()
    for plugin in found.plugins:
        if plugin.name.lower() == name and plugin.distribution.replace("_", "-").lower() != chosen.distribution:
            return f"{name!r} is the name of {'the built-in ' if plugin.builtin else ''}{plugin}"
    for entry in found.entries:
        if entry.plugin.builtin and (entry.kind, entry.name.lower()) == (chosen.kind, name):
            return f"{entry.name!r} is the name of a built-in {entry.kind}"
    return None


def render(chosen: Names) -> dict[str, str]:
    """The package's files, ``{path in it: text}``.

    Raises ``UserError`` where the class would have the name of something that its own module uses.
    """
    values = {
        "kind": chosen.kind,
        "interface": TABLE[chosen.kind].base.partition(":")[2],
        "name": chosen.component,
        "distribution": chosen.distribution,
        "package": chosen.package,
        "module": chosen.module,
        "cls": chosen.cls,
        "use": chosen.options,
        "setting": chosen.setting,
        "version": __version__,
        "interface_version": str(INTERFACE_VERSION),
    }

    def fill(template: str, **changes: str) -> str:
        text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
        return Template(text).substitute(values | changes)

    component, test = f"kinds/{chosen.kind}.py", f"tests/{chosen.kind}.py"
    anonymous = ast.parse(fill(component, cls="_New") + fill(test, cls="_New"))
    if chosen.cls in _names(anonymous):
        raise UserError(f"name {chosen.component!r}: the new module uses {chosen.cls} already; choose another")
    headline = ast.get_docstring(anonymous) or ""
    values |= {"headline": headline, "summary": headline[:1].lower() + headline[1:].rstrip(".")}
    return {
        "README.md": fill("package/README.md"),
        "pyproject.toml": fill("package/pyproject.toml"),
        "setup.cfg": fill("package/setup.cfg"),
        f"{chosen.package}/__init__.py": fill("package/__init__.py"),
        f"{chosen.package}/{chosen.module}.py": fill(component),
        f"tests/test_{chosen.module}.py": fill(test),
    }


def _names(tree: ast.AST) -> set[str]:
    """Every name that a module imports, binds or reads."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.ClassDef | ast.alias):
            found.add(node.name)
    return found


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a package's files into a folder that is not there yet or is empty: all of them, or none.

    Raises ``UserError`` if it already exists, or the place cannot be written to.
    """
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - a link stays a link
    try:
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise UserError(f"{folder}: already exists; choose another folder with -o")
        _write_whole(target, files)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another with -o"
        ) from error


def _write_whole(target: Path, files: Mapping[str, str]) -> None:
    """Written in a scratch folder on the same disk, then renamed: in one step where ``target`` is new."""
    there = next(place for place in (target, *target.parents) if place.exists())
    scratch = Path(tempfile.mkdtemp(prefix=".scmrl-new-", dir=there))
    moved: list[Path] = []
    try:
        for path, text in files.items():
            file = scratch / target.relative_to(there) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for part in sorted(scratch.iterdir()):
            moved.append(part.rename(there / part.name))
    except BaseException:
        for part in moved:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
