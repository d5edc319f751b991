"""Finding plugins: each entry point is loaded on its own, so that a bad one harms nobody else."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points

import pluggy

from scmrl_plugins.registry import hookspecs
from scmrl_plugins.registry.catalogue import Broken, Catalogue, Entry, Plugin
from scmrl_plugins.registry.errors import describe, near
from scmrl_plugins.registry.hookspecs import GROUP, KINDS

DISTRIBUTION = "scmrl-plugins"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue of everything installed, discovered once a process."""
    return discover()


def discover(points: Iterable[EntryPoint] | None = None) -> Catalogue:
    """Load every entry point of the group and collect what the plugins register.

    A plugin that cannot be loaded, or whose hook is wrong, is recorded in ``Catalogue.broken`` and gives
    nothing; ``SCMRL_DISABLE_PLUGINS`` (names, comma-separated, or ``all``) leaves third parties out.
    """
    disabled = {name.strip() for name in os.environ.get("SCMRL_DISABLE_PLUGINS", "").split(",")} - {""}
    found = Catalogue()
    taken: dict[str, str] = {}
    seen: set[tuple[str, str, str]] = set()
    for point in sorted(points if points is not None else _installed(found.broken), key=_order):
        plugin = _describe(point)
        if (identity := (plugin.distribution, plugin.name, point.value)) in seen:
            continue  # the same distribution seen twice on sys.path
        seen.add(identity)
        if not plugin.builtin and disabled & {"all", plugin.name, plugin.distribution}:
            found.disabled.append(plugin)
            continue
        try:
            if plugin.name in taken:
                raise ValueError(f"the plugin name {plugin.name!r} is taken by {taken[plugin.name]}")
            taken[plugin.name] = plugin.distribution
            plugin, entries = _load(point, plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit at import must not end the program either
            found.broken.append(Broken(plugin.name, plugin.distribution, describe(error)))
        else:
            found.add(plugin, entries)
    return found


def _installed(broken: list[Broken]) -> list[EntryPoint]:
    """The group's entry points; distributions whose list of them cannot be read are recorded."""
    with contextlib.suppress(Exception):
        return list(entry_points(group=GROUP))
    # One damaged file fails that call for all, so each distribution is asked by itself.
    found: list[EntryPoint] = []
    for distribution in distributions():
        try:
            found += distribution.entry_points.select(group=GROUP)
        except Exception as error:
            name = _metadata(distribution, "Name") or "unknown"
            reason = f"entry_points.txt cannot be read ({describe(error)}); reinstall or remove the distribution"
            broken.append(Broken(name, name, reason))
    return found


def _metadata(distribution: Distribution | None, key: str) -> str:
    """One field of a distribution's metadata; empty where there is none, as after half an uninstallation."""
    try:
        return (distribution.metadata[key] if distribution else "") or ""
    except Exception:
        return ""


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    plugin = _describe(point)
    return (not plugin.builtin, plugin.distribution, plugin.name)


def _describe(point: EntryPoint) -> Plugin:
    name = _metadata(point.dist, "Name") or "unknown"
    version = _metadata(point.dist, "Version")
    return Plugin(point.name, name, version, builtin=name.replace("_", "-").lower() == DISTRIBUTION)


def _load(point: EntryPoint, plugin: Plugin) -> tuple[Plugin, list[Entry]]:
    """Import one plugin and stage its registrations: all of them, or an exception."""
    # Standard output belongs to the command: it may be one JSON document.
    with contextlib.redirect_stdout(sys.stderr):
        module = point.load()
        plugin = Plugin(
            plugin.name,
            plugin.distribution,
            plugin.version,
            plugin.builtin,
            str(getattr(module, "__file__", None) or ""),
        )
        staged: list[Entry] = []
        # One manager a plugin: pluggy then checks and calls this plugin's hook and no other's.
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        manager.register(module, plugin.name)
        manager.check_pending()
        if not manager.hook.scmrl_register.get_hookimpls():
            raise ValueError("has no hook scmrl_register marked with @hookimpl")
        manager.hook.scmrl_register(register=functools.partial(_stage, plugin, staged))
    return plugin, staged


def _stage(plugin: Plugin, staged: list[Entry], kind: str, name: str, target: str, summary: str) -> None:
    where = f"register({kind!r}, {name!r}, ...)"
    if kind not in KINDS:
        raise ValueError(f"{where}: unknown kind{near(str(kind), KINDS)}; kinds are {', '.join(KINDS)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{where}: a name is letters, digits and . _ -")
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise ValueError(f"{where}: target {target!r} is not of the form 'module:attribute'")
    if not isinstance(summary, str) or not summary.strip():
        raise ValueError(f"{where}: the summary is empty")
    if any(entry.kind == kind and entry.name == name for entry in staged):
        raise ValueError(f"{where}: registered twice")
    staged.append(Entry(kind, name, target, " ".join(summary.split()), plugin))
