"""The components that plugins registered, by kind and name; their code is imported on first use."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from scmrl_plugins.registry.errors import UserError, describe, near
from scmrl_plugins.registry.hookspecs import KINDS


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group ``scmrl``: its name and the distribution that declares it."""

    name: str
    distribution: str
    version: str
    builtin: bool = False
    file: str = ""


@dataclass(frozen=True)
class Broken:
    """Why a plugin, or a name of it, cannot be used as its author meant."""

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

    @property
    def qualified(self) -> str:
        """The name that means this component and no other: ``plugin:name``."""
        return f"{self.plugin.name}:{self.name}"

    def load(self) -> Any:
        """Import the target and return the component's class; ``UserError`` where that fails."""
        module, _, attribute = self.target.partition(":")
        where = (
            f"{self.kind} {self.name!r} of plugin {self.plugin.name!r} "
            f"({self.plugin.distribution} {self.plugin.version})"
        )
        try:
            found = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a stranger's module may raise anything, SystemExit too
            raise UserError(
                f"{where} cannot be loaded from {self.target!r}: {describe(error)}; repair or uninstall the plugin"
            ) from error
        if not isinstance(found, type) or not hasattr(found, "Config"):
            raise UserError(f"{where}: {self.target!r} is not a class with a Config; its author must add one")
        return found


@dataclass
class Catalogue:
    """Every usable component, the plugins they came from, and what was broken."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    disabled: list[Plugin] = field(default_factory=list)

    def add(self, plugin: Plugin, entries: list[Entry]) -> None:
        """Take a plugin with all of its entries; a name that is taken is kept apart and reported."""
        for entry in entries:
            other = self._bare(entry.kind, entry.name)
            if other:
                owner = "the built-in" if other[0].plugin.builtin else f"plugin {other[0].plugin.name!r}"
                self.broken.append(
                    Broken(
                        plugin.name,
                        plugin.distribution,
                        f"{entry.kind} {entry.name!r} is also the name of {owner}: "
                        f"write {entry.qualified!r} to use this one",
                    )
                )
        self.plugins.append(plugin)
        self.entries.extend(entries)

    def names(self, kind: str) -> list[str]:
        """The names of a kind as a user may write them: bare, or qualified where bare means another."""
        return sorted(
            entry.name if self._bare(kind, entry.name) == [entry] else entry.qualified
            for entry in self.entries
            if entry.kind == kind
        )

    def get(self, kind: str, name: str) -> Entry:
        """The component of that kind and (bare or ``plugin:name``) name.

        A bare name means the built-in first. Raises ``UserError`` for an unknown or ambiguous name, saying
        near matches and which plugins failed to load.
        """
        if kind not in KINDS:
            raise UserError(f"unknown kind {kind!r}{near(kind, KINDS)}; kinds are {', '.join(KINDS)}")
        if ":" in name:
            found = [entry for entry in self.entries if entry.kind == kind and entry.qualified == name]
        else:
            found = self._bare(kind, name)
        if len(found) == 1:
            return found[0]
        if found:
            choices = " or ".join(repr(entry.qualified) for entry in found)
            raise UserError(f"{kind} {name!r} is ambiguous: write {choices}")
        raise UserError(self._unknown(kind, name))

    def _bare(self, kind: str, name: str) -> list[Entry]:
        found = [entry for entry in self.entries if entry.kind == kind and entry.name == name]
        return [entry for entry in found if entry.plugin.builtin] or found

    def _unknown(self, kind: str, name: str) -> str:
        names = self.names(kind)
        if not any(plugin.builtin for plugin in self.plugins):
            return f"unknown {kind} {name!r}: scmrl-plugins is not installed here; run pip install -e ."
        qualified = [entry.qualified for entry in self.entries if entry.kind == kind]
        message = f"unknown {kind} {name!r}{near(name, [*names, *qualified]) or '; run scmrl plugins for all'}"
        if self.broken:
            failed = ", ".join(sorted({broken.name for broken in self.broken}))
            message += f"; plugins with problems: {failed} (scmrl plugins says why)"
        if self.disabled:
            off = ", ".join(sorted(plugin.name for plugin in self.disabled))
            message += f"; switched off by SCMRL_DISABLE_PLUGINS: {off}"
        return message
