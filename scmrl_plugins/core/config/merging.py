"""Layers of settings merged into one, with the source of each key."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near, shortened
from scmrl_plugins.registry.kinds import TABLE


@dataclass(frozen=True)
class Layer:
    """Nested settings and where they come from; ``complete`` if they are a run's, with all defaults."""

    source: str
    data: Mapping[str, Any]
    complete: bool = False


@dataclass
class Merged:
    """The sum of some layers, and which of them set each key last: ``"fusion.alpha" -> "my.toml"``."""

    data: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Layer) -> None:
        """Merge one more layer on top; ``UserError`` for a section that is malformed."""
        data = dict(layer.data)
        for name in data.keys() & TABLE.keys():
            if TABLE[name].repeats:
                data[name] = _merge_list(name, self.data.get(name), data[name], layer.source)
            elif not isinstance(data[name], Mapping):
                raise UserError(f'{name}: must be a section, like [{name}] name = "..." (in {layer.source})')
        try:
            self._merge(self.data, data, "", layer.source)
        except RecursionError:
            raise UserError(
                f"{shortened(layer.source, 200)}: nested too deeply; a key has three parts at most"
            ) from None

    def _merge(self, into: dict[str, Any], data: Mapping[str, Any], prefix: str, source: str) -> None:
        for key, value in data.items():
            path = f"{prefix}{key}"
            present = into.get(key)
            if isinstance(value, Mapping) and isinstance(present, dict):
                # Another component has other options: those of the one it replaces do not apply to it.
                if path in TABLE and "name" in value and value["name"] != present.get("name"):
                    present.clear()
                self._merge(present, value, f"{path}.", source)
            else:
                into[key] = copy.deepcopy(dict(value) if isinstance(value, Mapping) else value)
            self.sources[path] = source


def merge(layers: Iterable[Layer]) -> Merged:
    """The default component of each kind, and the layers on top, later ones over earlier ones."""
    merged = Merged({kind.name: {"name": kind.default} for kind in TABLE.values() if not kind.repeats})
    for layer in layers:
        merged.add(layer)
    return merged


def _merge_list(kind: str, present: Any, update: Any, source: str) -> Any:
    """The sections of a kind that repeats after an update: a new list, or edits to some of its sections."""
    sections = present if isinstance(present, list) else []
    if isinstance(update, Mapping):
        return _edit(kind, sections, update, source)
    if isinstance(update, list):
        return [_with_options(section, sections) for section in update]
    return update


def _with_options(section: Any, present: list[Any]) -> Any:
    """A section that is only a name keeps the options of the current section of that name."""
    if isinstance(section, dict) and section.keys() == {"name"}:
        for other in reversed(present):
            if isinstance(other, dict) and other.get("name") == section["name"]:
                return other
    return section


def _edit(kind: str, present: list[Any], edits: Mapping[str, Any], source: str) -> list[Any]:
    """``loss.sao.temperature`` or ``loss.0.weight``: options of one section, by its name or index."""
    sections = copy.deepcopy(present)
    for key, options in edits.items():
        if not isinstance(options, Mapping):
            raise UserError(f"{kind}.{key}: write {kind}.NAME.OPTION=VALUE, or [[{kind}]] in a file (in {source})")
        named = {index: section.get("name") for index, section in enumerate(sections) if isinstance(section, dict)}
        matches = [index for index, name in named.items() if key in (name, str(index))]
        if not matches:
            names = [str(name) for name in named.values()]
            plural = TABLE[kind].plural
            listed = f"the {plural} listed are {', '.join(names)}" if names else f"no {plural} are listed"
            raise UserError(
                f"{kind}.{key}: {listed}{near(key, names)}; "
                f"list them first, like --{kind} ce --{kind} sao (in {source})"
            )
        sections[matches[0]] |= options
    return sections
