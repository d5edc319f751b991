"""Composes a configuration from layers: defaults < data set < ``-c`` files in order < options < ``--set``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from scmrl_plugins.core.config.merging import Layer, merge
from scmrl_plugins.core.config.messages import explain
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.registry import UserError, catalogue


def compose(
    files: Sequence[str | Path] = (),
    options: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    layers: Iterable[Layer] = (),
) -> ExperimentConfig:
    """The configuration of files, options (nested, as in a file) and ``KEY=VALUE`` settings.

    ``layers`` have lower precedence than the files. Raises ``UserError`` for a file that cannot be read, an
    unknown key or component, or a value of the wrong type, and says where it was set.
    """
    layers = [*layers, *(layer for file in files for layer in read_file(file))]
    if options:
        layers.append(Layer("the options", options))
    layers += [parse_set(text) for text in sets]

    merged = merge(layers)
    name = merged.data["dataset"].get("name")
    if isinstance(name, str):
        recommended = catalogue().get("dataset", name).load().defaults
        merged = merge([Layer(f"the defaults of data set {name}", recommended), *layers])
    return validate(merged.data, merged.sources)


def as_config(config: ExperimentConfig | Mapping[str, Any] | str | Path | None) -> ExperimentConfig:
    """A configuration from a mapping, the path of a file, a validated configuration, or the defaults for none."""
    if isinstance(config, ExperimentConfig):
        return config
    if isinstance(config, str | os.PathLike):
        return compose([Path(config)])
    return compose(layers=[Layer("the mapping", config)] if config else [])


def read_file(path: str | Path, _chain: tuple[Path, ...] = ()) -> list[Layer]:
    """A TOML file as layers, after the files that it ``extends``, whose paths are relative to it."""
    path = Path(path)
    extended = f" (extended by {_chain[-1]})" if _chain else ""
    try:
        if path.resolve() in _chain:
            names = " -> ".join(file.name for file in _chain)
            raise UserError(f"{path}: extends itself through {names}; break the circle")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file{extended}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte in the name
        raise UserError(f"{path}: cannot be read as a configuration: {error}{extended}") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid TOML: {error}{extended}") from None
    bases = data.pop("extends", [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f'{path}: extends must be a list of file names, like ["base.toml"]')
    layers: list[Layer] = []
    for base in bases:
        layers += read_file(path.parent / base, (*_chain, path.resolve()))
    return [*layers, Layer(str(path), data)]


def parse_set(text: str) -> Layer:
    """``fusion.alpha=2.0`` as a layer; the value is TOML, or a string if it is not valid TOML."""
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {text[:200]}: write KEY=VALUE, such as --set fusion.alpha=2.0")
    try:
        parsed = tomllib.loads(f"value = {raw}")
        value: Any = parsed["value"] if len(parsed) == 1 else raw  # more than one key: several lines
    except (ValueError, RecursionError):
        value = raw
    for part in reversed(parts):
        value = {part: value}
    return Layer(f"--set {text}", value)


def validate(data: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> ExperimentConfig:
    """Check the sections; options of components are checked when the model is assembled."""
    try:
        config = ExperimentConfig.model_validate(data)
    except ValidationError as error:
        raise explain(error, ExperimentConfig, "", dict(sources or {})) from None
    config._sources.update(sources or {})
    return config


def to_toml(config: ExperimentConfig) -> str:
    """A configuration as TOML, without keys whose value is none, which TOML cannot express."""
    return tomli_w.dumps(_without_none(config.model_dump()))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value if inner is not None]
    return value
