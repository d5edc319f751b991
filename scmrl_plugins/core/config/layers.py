"""One configuration from many layers: defaults < data set < ``-c`` files in order < options < ``--set``."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from scmrl_plugins.core.config.sections import ExperimentConfig, where_set
from scmrl_plugins.registry import KINDS, UserError, catalogue
from scmrl_plugins.registry.errors import near


@dataclass(frozen=True)
class Layer:
    """Nested settings and where they come from."""

    source: str
    data: Mapping[str, Any]


@dataclass
class _Merged:
    """The sum of some layers, and which of them set each key last."""

    data: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Layer) -> None:
        try:
            self._merge(self.data, layer.data, "", layer.source)
        except RecursionError:
            raise UserError(f"{layer.source[:200]}: nested too deeply; a key has three parts at most") from None

    def _merge(self, into: dict[str, Any], data: Mapping[str, Any], prefix: str, source: str) -> None:
        for key, value in data.items():
            path = f"{prefix}{key}"
            present = into.get(key)
            if isinstance(value, Mapping) and isinstance(present, dict):
                # Another component has other options: those of the one it replaces mean nothing to it.
                if path in KINDS and "name" in value and value["name"] != present.get("name"):
                    present.clear()
                self._merge(present, value, f"{path}.", source)
            else:
                into[key] = copy.deepcopy(dict(value) if isinstance(value, Mapping) else value)
            self.sources[path] = source


def compose(
    files: Sequence[str | Path] = (),
    options: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    layers: Iterable[Layer] = (),
) -> ExperimentConfig:
    """The configuration of files, options (nested, as in a file) and ``KEY=VALUE`` settings.

    ``layers`` come below the files. Raises ``UserError`` for a file that cannot be read, an unknown key or
    component, or a value of the wrong type, naming where it was set.
    """
    layers = [*layers, *(layer for file in files for layer in read_file(file))]
    if options:
        layers.append(Layer("the options", options))
    layers += [parse_set(text) for text in sets]

    merged = _merge_all(layers)
    name = merged.data["dataset"].get("name")
    if isinstance(name, str):
        recommended = catalogue().get("dataset", name).load().defaults
        merged = _merge_all([Layer(f"the defaults of data set {name}", recommended), *layers])
    return validate(merged.data, merged.sources)


def as_config(config: ExperimentConfig | Mapping[str, Any] | str | Path | None) -> ExperimentConfig:
    """A configuration from what Python callers have: a mapping, a path, a validated one, or nothing."""
    if isinstance(config, ExperimentConfig):
        return config
    if isinstance(config, str | os.PathLike):
        return compose([Path(config)])
    return compose(layers=[Layer("the mapping", config)] if config else [])


def read_file(path: str | Path, _chain: tuple[Path, ...] = ()) -> list[Layer]:
    """A TOML file as layers, those it ``extends`` (relative to it) first."""
    path = Path(path)
    wanted = f" (extended by {_chain[-1]})" if _chain else ""
    try:
        if path.resolve() in _chain:
            names = " -> ".join(file.name for file in _chain)
            raise UserError(f"{path}: extends itself through {names}; break the circle")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file{wanted}") from None
    except (OSError, ValueError) as error:  # a ValueError is not UTF-8, or a name with a null byte
        raise UserError(f"{path}: cannot be read as a configuration: {error}{wanted}") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid TOML: {error}{wanted}") from None
    bases = data.pop("extends", [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f'{path}: extends must be a list of file names, like ["base.toml"]')
    layers: list[Layer] = []
    for base in bases:
        layers += read_file(path.parent / base, (*_chain, path.resolve()))
    return [*layers, Layer(str(path), data)]


def parse_set(text: str) -> Layer:
    """``fusion.alpha=2.0`` as a layer; the value is TOML, or a plain string where it is not."""
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {text[:200]}: write KEY=VALUE, such as --set fusion.alpha=2.0")
    try:
        parsed = tomllib.loads(f"value = {raw}")
        value: Any = parsed["value"] if len(parsed) == 1 else raw  # more than one: lines that are no TOML value
    except (ValueError, RecursionError):
        value = raw
    for part in reversed(parts):
        value = {part: value}
    return Layer(f"--set {text}", value)


def _merge_all(layers: Iterable[Layer]) -> _Merged:
    merged = _Merged({kind: {"name": name} for kind, name in _default_names().items()})
    for layer in layers:
        data = dict(layer.data)
        if isinstance(data.get("loss"), Mapping):
            data["loss"] = _edit_losses(merged.data.get("loss", []), data["loss"], layer.source)
        elif isinstance(data.get("loss"), list):
            data["loss"] = _keep_options(merged.data.get("loss", []), data["loss"])
        for kind in KINDS:
            if kind in data and kind != "loss" and not isinstance(data[kind], Mapping):
                raise UserError(f'{kind}: must be a section, like [{kind}] name = "..." (in {layer.source})')
        merged.add(Layer(layer.source, data))
    return merged


def _default_names() -> dict[str, str]:
    fields = ExperimentConfig.model_fields
    return {kind: fields[kind].default.name for kind in KINDS if kind != "loss"}


def _keep_options(present: Any, wanted: list[Any]) -> list[Any]:
    """A list of losses; one that only names a loss which is there already keeps that one's options."""
    known = {
        loss["name"]: loss
        for loss in (present if isinstance(present, list) else [])
        if isinstance(loss, dict) and isinstance(loss.get("name"), str)
    }
    return [
        known.get(loss["name"], loss)
        if isinstance(loss, dict) and loss.keys() == {"name"} and isinstance(loss["name"], str)
        else loss
        for loss in wanted
    ]


def _edit_losses(present: Any, edits: Mapping[str, Any], source: str) -> list[Any]:
    """``loss.sao.temperature`` or ``loss.0.weight``: options of one loss in the list, by name or place."""
    losses: list[Any] = copy.deepcopy(present) if isinstance(present, list) else []
    for key, options in edits.items():
        if not isinstance(options, Mapping):
            raise UserError(f"loss.{key}: write loss.NAME.OPTION=VALUE, or [[loss]] in a file (in {source})")
        places = [
            place
            for place, loss in enumerate(losses)
            if isinstance(loss, dict) and (loss.get("name") == key or str(place) == key)
        ]
        if not places:
            names = [str(loss.get("name")) for loss in losses if isinstance(loss, dict)]
            listed = f"the losses listed are {', '.join(names)}" if names else "no losses are listed"
            raise UserError(
                f"loss.{key}: {listed}{near(key, names)}; list them first, like --loss ce --loss sao (in {source})"
            )
        losses[places[0]] |= options
    return losses


def validate(data: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> ExperimentConfig:
    """Check the sections and their own keys; components check their options when they are assembled."""
    try:
        config = ExperimentConfig.model_validate(data)
    except ValidationError as error:
        raise explain(error, ExperimentConfig, "", dict(sources or {})) from None
    config._sources.update(sources or {})
    return config


def explain(error: ValidationError, model: type[BaseModel], prefix: str, sources: Mapping[str, str]) -> UserError:
    """Pydantic's first complaint as one line: the key, what is wrong, where it was set."""
    first = error.errors(include_url=False)[0]
    loc = list(first["loc"])
    if first["type"] != "extra_forbidden":  # whose last part is the user's own word, brackets and all
        loc = [part for part in loc if not (isinstance(part, str) and "[" in part)]
    key = ".".join(str(part) for part in ([prefix] if prefix else []) + list(loc))
    if first["type"] == "extra_forbidden":
        keys = _keys(model, loc[:-1])
        complaint = f"unknown key{near(str(loc[-1]), keys) or '; known keys are ' + (', '.join(keys) or 'none')}"
    elif first["type"] == "missing":
        complaint = "is missing"
    else:
        message = first["msg"].removeprefix("Value error, ")
        complaint = message[:1].lower() + message[1:]
        given = repr(first["input"])
        if len(given) <= 60 and not isinstance(first["input"], dict):
            complaint += f", got {given}"
    return UserError(f"{key}: {complaint}{where_set(key, sources)}")


def _keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that the model at ``loc`` inside ``model`` knows."""
    for part in loc:
        field_info = model.model_fields.get(str(part))
        annotation = field_info.annotation if field_info else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)


def to_toml(config: ExperimentConfig) -> str:
    """A configuration as TOML; what is none is left out, as TOML has no word for it."""
    return tomli_w.dumps(_without_none(config.model_dump()))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value if inner is not None]
    return value
