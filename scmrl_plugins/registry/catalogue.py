"""The registered components by kind and name. Their code is imported on first use."""

from __future__ import annotations

import os
import pkgutil
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scmrl_plugins.registry.errors import UserError, describe, near
from scmrl_plugins.registry.kinds import TABLE

INLINE = "inline"
"""The distribution of components registered from a file or a notebook."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of the group ``scmrl``: its name and the distribution that declares it."""

    name: str
    distribution: str
    version: str
    builtin: bool = False
    file: str = ""

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({' '.join(filter(None, (self.distribution, self.version)))})"

    @property
    def remedy(self) -> str:
        """What a user can do about a broken plugin."""
        if self.distribution == INLINE:
            return f"repair {self.file or 'the code that registered it'}"
        return f"update or uninstall it: pip uninstall {self.distribution}"


@dataclass(frozen=True)
class Broken:
    """A problem with a plugin or one of its components; ``error`` ends with the remedy."""

    name: str
    distribution: str
    error: str


@dataclass(frozen=True)
class Entry:
    """One registered component."""

    kind: str
    name: str
    target: str
    summary: str
    plugin: Plugin
    component: type | None = None
    """The class itself, if it was registered in this process and needs no import."""

    @property
    def qualified(self) -> str:
        """The unambiguous name: ``plugin:name``."""
        return f"{self.plugin.name}:{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.plugin}"

    def load(self) -> Any:
        """The component's class, imported from the target; ``UserError`` if that fails.

        The class has the defaults of its kind's base class.
        """
        try:
            cls = self.component or pkgutil.resolve_name(self.target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a third-party module may raise anything, even SystemExit
            raise UserError(
                f"{self} cannot be loaded from {self.target!r}: {describe(error)}; {self.plugin.remedy}"
            ) from error
        try:
            return as_component(self.kind, cls)
        except TypeError as error:
            raise UserError(f"{self}: {self.target!r} {error}; {self.plugin.remedy}") from None


def as_component(kind: str, cls: Any) -> Any:
    """The class with the defaults of its kind's base class; ``TypeError`` for what is not a component."""
    return pkgutil.resolve_name(TABLE[kind].base).adapt(cls)


@dataclass
class Catalogue:
    """All usable components, the plugins they come from, and the problems."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    disabled: list[Plugin] = field(default_factory=list)

    def add(self, plugin: Plugin, entries: list[Entry]) -> None:
        """Add a plugin with all its entries; a name that is already in use is reported."""
        for entry in entries:
            other = self._bare(entry.kind, entry.name)
            if other:
                owner = "the built-in" if other[0].plugin.builtin else str(other[0].plugin)
                self.report(
                    plugin,
                    f"{entry.kind} {entry.name!r} is also the name of {owner}",
                    f"write {entry.qualified!r} to use this one",
                )
        self.plugins.append(plugin)
        self.entries.extend(entries)

    def remove(self, name: str) -> None:
        """Remove a plugin by name, with its entries and problems."""
        self.plugins = [plugin for plugin in self.plugins if plugin.name != name]
        self.entries = [entry for entry in self.entries if entry.plugin.name != name]
        self.broken = [broken for broken in self.broken if broken.name != name]

    def report(self, plugin: Plugin, error: str, remedy: str = "") -> None:
        """Record a problem with a plugin."""
        self.broken.append(Broken(plugin.name, plugin.distribution, f"{error}; {remedy or plugin.remedy}"))

    def inline_files(self) -> list[str]:
        """The files of plugins that are not installed."""
        return [plugin.file for plugin in self.plugins if plugin.distribution == INLINE and plugin.file]

    def culprit(self, error: BaseException) -> str | None:
        """The third-party plugin that raised an exception, with file and line; none if no plugin is involved.

        The innermost frame in a plugin counts. A plugin owns its module, the modules of its components, and all
        files of its package.
        """
        owners: list[tuple[str, Plugin]] = []
        for plugin in self.plugins:
            if plugin.builtin:
                continue
            modules = {entry.target.partition(":")[0] for entry in self.entries if entry.plugin == plugin}
            files = {plugin.file, *(getattr(sys.modules.get(name), "__file__", None) or "" for name in modules)}
            owners += [(file, plugin) for file in files if file]
        message = None
        for frame, line in traceback.walk_tb(error.__traceback__):
            path = frame.f_code.co_filename
            for file, plugin in owners:
                package = f"{Path(file).parent}{os.sep}" if Path(file).name == "__init__.py" else None
                if path == file or (package and path.startswith(package)):
                    message = f"{plugin} failed in {path}, line {line}: {describe(error)}; {plugin.remedy}"
        return message

    def names(self, kind: str) -> list[str]:
        """The names of a kind as a user writes them: bare, or qualified where the bare name means another."""
        return sorted(
            entry.name if self._bare(kind, entry.name) == [entry] else entry.qualified
            for entry in self.entries
            if entry.kind == kind
        )

    def get(self, kind: str, name: str) -> Entry:
        """The component of a kind by its bare or ``plugin:name`` name.

        A bare name means the built-in if there is one. Raises ``UserError`` for an unknown or ambiguous name, with
        near matches and the plugins that failed to load.
        """
        if kind not in TABLE:
            raise UserError(f"unknown kind {kind!r}{near(kind, TABLE)}; kinds are {', '.join(TABLE)}")
        if ":" in name:
            matches = [entry for entry in self.entries if entry.kind == kind and entry.qualified == name]
        else:
            matches = self._bare(kind, name)
        if len(matches) == 1:
            return matches[0]
        if matches:
            choices = " or ".join(repr(entry.qualified) for entry in matches)
            raise UserError(f"{kind} {name!r} is ambiguous: write {choices}")
        raise UserError(self._unknown(kind, name))

    def _all_names(self, kind: str) -> list[str]:
        return self.names(kind) + [entry.qualified for entry in self.entries if entry.kind == kind]

    def _moved(self, kind: str, name: str) -> str:
        """The current name of a component whose plugin may have been renamed."""
        _, colon, bare = name.rpartition(":")
        here = [entry.qualified for entry in self.entries if entry.kind == kind and entry.name == bare]
        return f": there is {' and '.join(map(repr, here))} (was a plugin renamed?)" if colon and here else ""

    def _bare(self, kind: str, name: str) -> list[Entry]:
        matches = [entry for entry in self.entries if entry.kind == kind and entry.name == name]
        return [entry for entry in matches if entry.plugin.builtin] or matches

    def _unknown(self, kind: str, name: str) -> str:
        if not any(plugin.builtin for plugin in self.plugins):
            return f"unknown {kind} {name!r}: scmrl-plugins is not installed here; run pip install -e ."
        listing = "scmrl data list" if kind == "dataset" else "scmrl plugins"
        hint = self._moved(kind, name) or near(name, self._all_names(kind)) or f"; run {listing} for all"
        message = f"unknown {kind} {name!r}{hint}"
        if of_that_name := [broken for broken in self.broken if broken.name == name.partition(":")[0]]:
            message += f"; plugins with problems: {of_that_name[0].name}: {of_that_name[0].error}"
        elif self.broken:
            failed = ", ".join(sorted({broken.name for broken in self.broken}))
            message += f"; plugins with problems: {failed} (scmrl plugins says why)"
        if self.disabled:
            off = ", ".join(sorted(plugin.name for plugin in self.disabled))
            message += f"; switched off by SCMRL_DISABLE_PLUGINS: {off}"
        return message
