"""Collects the registrations of one plugin, of which all are accepted or none."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pluggy

from scmrl_plugins.registry import hookspecs
from scmrl_plugins.registry.catalogue import INLINE, Entry, Plugin
from scmrl_plugins.registry.errors import describe, near
from scmrl_plugins.registry.hookspecs import GROUP, INTERFACE_VERSION, OLDEST_INTERFACE
from scmrl_plugins.registry.kinds import TABLE
from scmrl_plugins.registry.targets import missing

INTERFACE_ATTRIBUTE = "scmrl_interface"
"""The attribute by which a plugin's module declares the version of the interface it was written for."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class PluginError(Exception):
    """Why a plugin is rejected; ``remedy`` replaces the usual advice to its user."""

    def __init__(self, error: str, remedy: str = "") -> None:
        super().__init__(error)
        self.remedy = remedy


@dataclass
class Staged:
    """The components of a plugin, and notes ``(error, remedy)`` on problems that do not prevent its use."""

    plugin: Plugin
    entries: list[Entry] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def register(self, kind: str, name: str, target: str, summary: str) -> None:
        """The argument of the plugin's hook; ``PluginError`` for a mistake."""
        where = f"register({kind!r}, {name!r}, ...)"
        if not isinstance(kind, str) or kind not in TABLE:
            raise PluginError(f"{where}: unknown kind{near(str(kind), TABLE)}; kinds are {', '.join(TABLE)}")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(f"{where}: a name is letters, digits and . _ -")
        if not isinstance(target, str) or not _TARGET.fullmatch(target):
            raise PluginError(f"{where}: target {target!r} is not of the form 'module:attribute'")
        if not isinstance(summary, str) or not summary.strip():
            raise PluginError(f"{where}: the summary is empty")
        if any(entry.kind == kind and entry.name == name for entry in self.entries):
            raise PluginError(f"{where}: registered twice")
        self.entries.append(Entry(kind, name, target, " ".join(summary.split()), self.plugin))


def stage(load: Callable[[], Any], plugin: Plugin) -> Staged:
    """Import a plugin with ``load`` and call its hook. Raises what the plugin raises, or ``PluginError``."""
    had_torch = "torch" in sys.modules
    printed = io.StringIO()
    try:
        # Standard output belongs to the command, which may print a JSON document.
        with contextlib.redirect_stdout(printed):
            module = load()
            plugin = dataclasses.replace(plugin, file=str(getattr(module, "__file__", None) or ""))
            staged = Staged(plugin)
            _check_interface(module, staged)
            # One manager per plugin: pluggy then checks and calls the hook of this plugin only.
            manager = pluggy.PluginManager(GROUP)
            manager.add_hookspecs(hookspecs)
            try:
                manager.register(module, plugin.name)
                manager.check_pending()
            except pluggy.PluginValidationError as error:
                raise PluginError(f"{describe(error)}; the hook is scmrl_register(register)") from None
            if not manager.hook.scmrl_register.get_hookimpls():
                raise PluginError("has no hook scmrl_register marked with @hookimpl")
            manager.hook.scmrl_register(register=functools.partial(Staged.register, staged))
    finally:
        sys.stderr.write(printed.getvalue())
    if plugin.builtin:
        return staged
    if plugin.distribution != INLINE:  # a file given by the user may print, and may contain both hook and model
        if text := printed.getvalue().strip():
            staged.notes.append((f"prints when it registers: {text[:60]!r}", plugin.remedy))
        if not had_torch and "torch" in sys.modules:
            slow = "imports torch when it registers, which makes every command seconds slower"
            staged.notes.append((slow, plugin.remedy))
    for entry in staged.entries:
        if complaint := missing(entry.target):
            staged.notes.append((f"{entry.kind} {entry.name!r} is not there: {complaint}", plugin.remedy))
    return staged


def _check_interface(module: Any, staged: Staged) -> None:
    declared = getattr(module, INTERFACE_ATTRIBUTE, INTERFACE_VERSION)
    if not isinstance(declared, int) or declared < 1:
        raise PluginError(f"{INTERFACE_ATTRIBUTE} = {declared!r} is not a version: write a number such as 1")
    if declared > INTERFACE_VERSION:
        raise PluginError(
            f"was written for interface {declared}, and this scmrl-plugins has {INTERFACE_VERSION}",
            "pip install -U scmrl-plugins",
        )
    if declared < OLDEST_INTERFACE:
        raise PluginError(
            f"was written for interface {declared}, and the oldest that works here is {OLDEST_INTERFACE}",
            f"pip install -U {staged.plugin.distribution}",
        )
    if declared < INTERFACE_VERSION:
        staged.notes.append(
            (
                f"was written for interface {declared}, which is deprecated: the newest is {INTERFACE_VERSION}",
                f"it still works; pip install -U {staged.plugin.distribution}",
            )
        )
