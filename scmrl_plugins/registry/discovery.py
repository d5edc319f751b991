"""Finds plugins. Each entry point is loaded separately, so that a broken one does not affect the others."""

from __future__ import annotations

import functools
import os
import re
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
    installed = points if points is not None else _installed(result.broken)
    for plugin, point in sorted(((_describe(point), point) for point in installed), key=_order):
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
    """The entry points of the group; distributions with unreadable entry points are recorded as broken.

    Of two copies of a distribution on ``sys.path``, the first counts. Each file is read separately, as one that is
    damaged makes ``importlib.metadata.entry_points`` fail for all; most do not name the group and are not parsed.
    """
    from importlib.metadata import distributions  # here, as scmrl --help does without

    points: dict[str, list[EntryPoint]] = {}
    for distribution in distributions():
        try:
            if f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or ""):
                name = _normalized(_metadata(distribution)[0])
                points.setdefault(name, list(distribution.entry_points.select(group=GROUP)))
        except Exception as error:
            name = _metadata(distribution)[0] or "unknown"
            reason = f"entry_points.txt cannot be read ({describe(error)}); reinstall or remove the distribution"
            broken.append(Broken(name, name, reason))
    return [point for found in points.values() for point in found]


@functools.cache
def _metadata(distribution: Distribution | None) -> tuple[str, str]:
    """Name and version; empty if there are none, as after an incomplete uninstallation.

    Parsed once for all entry points of a distribution, as the README is part of it.
    """
    if distribution is None:
        return "", ""
    try:
        metadata = distribution.metadata
        return metadata["Name"] or "", metadata["Version"] or ""
    except Exception:
        return "", ""


def _order(found: tuple[Plugin, EntryPoint]) -> tuple[bool, str, str]:
    plugin, _ = found
    return (not plugin.builtin, plugin.distribution, plugin.name)


def _describe(point: EntryPoint) -> Plugin:
    name, version = _metadata(point.dist)
    name = name or "unknown"
    return Plugin(point.name, name, version, builtin=_normalized(name) == DISTRIBUTION)


def _normalized(name: str) -> str:
    """A distribution's name, of which several spellings are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()
