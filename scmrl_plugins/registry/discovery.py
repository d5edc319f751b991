"""Finds plugins. Each entry point is loaded separately, so that a broken one does not affect the others."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scmrl_plugins.registry.catalogue import Broken, Catalogue, Plugin
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.registry.hookspecs import GROUP
from scmrl_plugins.registry.staging import PluginError, stage

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

DISTRIBUTION = "scmrl-plugins"


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue of all installed plugins, discovered once per process."""
    return discover()


def discover(points: Iterable[EntryPoint] | None = None) -> Catalogue:
    """Load every entry point of the group and collect what the plugins register.

    A plugin that cannot be loaded, or that has an invalid hook, is listed in ``Catalogue.broken`` and registers
    nothing. ``SCMRL_DISABLE_PLUGINS`` (comma-separated names, or ``all``) switches third-party plugins off.
    """
    disabled = {name.strip() for name in os.environ.get("SCMRL_DISABLE_PLUGINS", "").split(",")} - {""}
    result = Catalogue()
    taken: dict[str, str] = {}
    seen: set[tuple[str, str, str]] = set()
    for point in sorted(points if points is not None else _installed(result.broken), key=_order):
        plugin = _describe(point)
        if (identity := (plugin.distribution, plugin.name, point.value)) in seen:
            continue  # the same distribution seen twice on sys.path
        seen.add(identity)
        if not plugin.builtin and disabled & {"all", plugin.name, plugin.distribution}:
            result.disabled.append(plugin)
            continue
        if other := taken.get(plugin.name):
            result.report(plugin, f"the plugin name {plugin.name!r} is taken by {other}", _one_of(plugin, other))
            continue
        taken[plugin.name] = plugin.distribution
        try:
            staged = stage(point.load, plugin)
        except KeyboardInterrupt:
            raise
        except PluginError as error:
            result.report(plugin, str(error), error.remedy)
        except ModuleNotFoundError as error:
            remedy = f"install what it needs, or uninstall it: pip uninstall {plugin.distribution}"
            result.report(plugin, describe(error), remedy)
        except BaseException as error:  # SystemExit at import must not end the program either
            result.report(plugin, describe(error))
        else:
            result.add(staged.plugin, staged.entries)
            for note, remedy in staged.notes:
                result.report(staged.plugin, note, remedy)
    return result


def _one_of(plugin: Plugin, other: str) -> str:
    if plugin.distribution == other:
        return f"its author must give {plugin.distribution}'s entry points unique names"
    return f"uninstall one of them: pip uninstall {plugin.distribution}"


def _installed(broken: list[Broken]) -> list[EntryPoint]:
    """The entry points of the group; distributions with unreadable entry points are recorded as broken."""
    from importlib.metadata import distributions, entry_points  # here, as scmrl --help does without

    with contextlib.suppress(Exception):
        return list(entry_points(group=GROUP))
    # One damaged file makes that call fail for all, so each distribution is read separately.
    points: list[EntryPoint] = []
    for distribution in distributions():
        try:
            points += distribution.entry_points.select(group=GROUP)
        except Exception as error:
            name = _metadata(distribution, "Name") or "unknown"
            reason = f"entry_points.txt cannot be read ({describe(error)}); reinstall or remove the distribution"
            broken.append(Broken(name, name, reason))
    return points


def _metadata(distribution: Distribution | None, key: str) -> str:
    """One field of a distribution's metadata; empty if there is none, as after an incomplete uninstallation."""
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
