"""Components without a package: a class of this process, or a file given by the user."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from scmrl_plugins.registry.catalogue import INLINE, Entry, Plugin, as_component
from scmrl_plugins.registry.discovery import catalogue
from scmrl_plugins.registry.errors import UserError, describe
from scmrl_plugins.registry.staging import Staged, stage


def register_inline(kind: str, name: str, component: type, summary: str = "") -> Entry:
    """Make a class a component of this process, as a notebook does: ``register_inline("fusion", "mine", Mine)``.

    It belongs to the plugin ``inline``. Registering the same kind and name again replaces it, so that a cell can
    be run twice. If a built-in has the same name, write ``inline:name``. Raises ``UserError`` for an unknown kind,
    an invalid name, or a component that is not a class with a ``Config``.
    """
    current = catalogue()
    kept = [e for e in current.entries if e.plugin.name == INLINE and (e.kind, e.name) != (kind, name)]
    plugin = Plugin(INLINE, INLINE, "")
    staged = Staged(plugin)
    words = summary or (component.__doc__ or "").strip().split("\n")[0] or name
    try:
        staged.register(kind, name, "inline:component", words)
    except Exception as error:
        raise UserError(str(error)) from None
    try:
        as_component(kind, component)
    except TypeError as error:
        raise UserError(f"register_inline({kind!r}, {name!r}, ...): {component!r} {error}") from None
    target = f"{component.__module__}:{component.__qualname__}"
    entry = Entry(kind, name, target, staged.entries[0].summary, plugin, component)
    current.remove(INLINE)
    current.add(plugin, [*kept, entry])
    return entry


def register_file(path: str | Path) -> Plugin:
    """Import a file with a hook ``scmrl_register`` and register its components, as ``--plugin`` does.

    The plugin has the name of the file, ``mine`` for ``mine.py``; its targets are its own classes,
    ``f"{__name__}:Mine"``. Registering the file again replaces its components. Raises ``UserError`` if the file
    does not exist or fails, or if another plugin has its name.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"--plugin {path}: {'not a .py file' if path.exists() else 'no such file'}")
    file = path.resolve()
    current = catalogue()
    for other in current.plugins:
        if other.name == path.stem and (other.distribution != INLINE or not other.file):
            raise UserError(f"--plugin {path}: {path.stem!r} is the name of {other}; rename the file")
        if other.name == path.stem and other.file != str(file) and Path(other.file).exists():
            raise UserError(f"--plugin {path}: {path.stem!r} is the name of {other.file} too; rename one of them")
    plugin = Plugin(path.stem, INLINE, "", file=str(file))
    try:
        staged = stage(lambda: _import(file), plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may raise anything, even SystemExit
        raise UserError(f"--plugin {path}: {describe(error)}; repair the file") from error
    current.remove(path.stem)
    for note, remedy in staged.notes:
        current.report(staged.plugin, note, remedy)
    current.add(staged.plugin, staged.entries)
    return staged.plugin


class _Uncached(SourceFileLoader):
    """Compiles the file anew: a cached module passes for a file that was edited in the same second."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError


def _import(file: Path) -> ModuleType:
    name = re.sub(r"\W", "_", f"scmrl_inline_{file.stem}")
    spec = importlib.util.spec_from_file_location(name, file, loader=_Uncached(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
