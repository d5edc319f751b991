"""Creates the package of a new plugin from the templates of its kind."""

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
    """The names of a new component and its package: ``gated`` is in ``scmrl-gated``."""

    kind: str
    component: str
    """The name of the component and of its entry point: lower-case words joined by dashes."""

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
        """The command-line options that select the component."""
        return TABLE[self.kind].usage.format(kind=self.kind, name=self.component)

    @property
    def setting(self) -> str:
        """How a setting of the component is written."""
        section = f"{self.kind}.{self.component}" if TABLE[self.kind].repeats else self.kind
        return f"{section}.FIELD=VALUE"


def names(name: str, kind: str) -> Names:
    """The names for ``gated``, ``scmrl-gated`` or ``scmrl_gated``.

    Raises ``UserError`` for a name that is not valid for a package and a class, or that is already in use.
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
        return f"{name!r} is a keyword of Python"
    if chosen.package == __package__.partition(".")[0]:
        return f"{chosen.distribution} is this framework itself"
    installed = catalogue()
    for plugin in installed.plugins:
        if plugin.name.lower() == name and plugin.distribution.replace("_", "-").lower() != chosen.distribution:
            return f"{name!r} is the name of {'the built-in ' if plugin.builtin else ''}{plugin}"
    for entry in installed.entries:
        if entry.plugin.builtin and (entry.kind, entry.name.lower()) == (chosen.kind, name):
            return f"{entry.name!r} is the name of a built-in {entry.kind}"
    return None


def render(chosen: Names) -> dict[str, str]:
    """The package's files, ``{path in it: text}``.

    Raises ``UserError`` if the name of the class is already used in its module.
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
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.ClassDef | ast.alias):
            used.add(node.name)
    return used


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of a package into a new or empty folder: all of them, or none.

    Raises ``UserError`` if the folder is not empty or cannot be written.
    """
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - a link stays a link
    try:
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise UserError(f"{folder}: already exists; choose another folder with -o")
        _write_all(target, files)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another with -o"
        ) from error


def _write_all(target: Path, files: Mapping[str, str]) -> None:
    """Write into a scratch folder on the same disk, then rename; a new ``target`` appears in one step."""
    parent = next(path for path in (target, *target.parents) if path.exists())
    scratch = Path(tempfile.mkdtemp(prefix=".scmrl-new-", dir=parent))
    moved: list[Path] = []
    try:
        for path, text in files.items():
            file = scratch / target.relative_to(parent) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for part in sorted(scratch.iterdir()):
            moved.append(part.rename(parent / part.name))
    except BaseException:
        for part in moved:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
