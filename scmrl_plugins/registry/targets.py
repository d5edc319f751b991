"""Checks that a target exists without importing it: a plugin's module is imported on first use only."""

from __future__ import annotations

import ast
import importlib.util
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def missing(target: str) -> str | None:
    """Why ``module:attribute`` cannot be loaded; none if it can, or if only an import could tell."""
    module, _, attribute = target.partition(":")
    try:
        spec = _find(module)
    except ModuleNotFoundError as error:
        return str(error)
    except Exception:  # third-party finders and modules may raise anything
        return None
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        names = _bound(ast.parse(Path(spec.origin).read_bytes()))
    except (SyntaxError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except (OSError, RecursionError):
        return None
    wanted = attribute.partition(".")[0]
    if wanted in names or names & {"*", "__getattr__"}:
        return None
    return f"module {module!r} has no {wanted!r}"


def _find(module: str) -> ModuleSpec:
    """The spec of a module. ``importlib`` finds only the top-level package, without importing it."""
    parts = module.split(".")
    spec = importlib.util.find_spec(parts[0])
    for end in range(1, len(parts) + 1):
        if spec is None:
            raise ModuleNotFoundError(f"no module named {'.'.join(parts[:end])!r}")
        if end < len(parts):
            if spec.submodule_search_locations is None:
                raise ModuleNotFoundError(f"{spec.name!r} is a module, not a package")
            spec = PathFinder.find_spec(".".join(parts[: end + 1]), spec.submodule_search_locations)
    assert spec is not None
    return spec


def _bound(tree: ast.AST) -> set[str]:
    """Every name that the source binds at any level; ``*`` for a star import."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names
