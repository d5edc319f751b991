"""Which components are checked: by name, or all of a distribution."""

from __future__ import annotations

from typing import Any

from scmrl_plugins.registry import Entry, UserError, catalogue
from scmrl_plugins.registry.errors import near
from scmrl_plugins.testing.subject import Subject


def subjects(*names: str, package: str | None = None, **settings: Any) -> list[Subject]:
    """The components with these names, or of a distribution, as subjects; ``settings`` go to each ``Subject``."""
    entries = [entry for name in names for entry in _named(name)]
    if package is not None:
        entries += _of_package(package)
    return [Subject(entry, **settings) for entry in dict.fromkeys(entries)]


def _named(name: str) -> list[Entry]:
    """The components of any kind with a bare or ``plugin:name`` name; ``UserError`` if there is none."""
    entries = catalogue().entries
    matches = [entry for entry in entries if name in (entry.name, entry.qualified)]
    if not matches:
        names = sorted({word for entry in entries for word in (entry.name, entry.qualified)})
        broken = ", ".join(sorted({broken.name for broken in catalogue().broken}))
        failed = f"; plugins with problems: {broken} (scmrl plugins says why)" if broken else ""
        raise UserError(f"no component {name!r}{near(name, names) or '; scmrl plugins lists them'}{failed}")
    return matches


def _of_package(distribution: str) -> list[Entry]:
    """The components of a distribution or plugin; ``UserError`` if it is not installed or does not work."""
    installed = catalogue()
    name = distribution.replace("_", "-").lower()

    def same(*names: str) -> bool:
        return name in {other.replace("_", "-").lower() for other in names}

    entries = [entry for entry in installed.entries if same(entry.plugin.name, entry.plugin.distribution)]
    if not entries:
        if failed := [broken.error for broken in installed.broken if same(broken.name, broken.distribution)]:
            raise UserError(f"{distribution}: {failed[0]}")
        names = {name for plugin in installed.plugins for name in (plugin.name, plugin.distribution)}
        raise UserError(f"no plugin of {distribution!r} is installed{near(distribution, names)}")
    return entries
