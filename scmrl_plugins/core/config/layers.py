"""Composes a configuration from layers: defaults < data set < ``-c`` files in order < options < ``--set``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from scmrl_plugins.core.config import examples
from scmrl_plugins.core.config.completion import completed, is_complete
from scmrl_plugins.core.config.merging import Layer, merge
from scmrl_plugins.core.config.messages import explain, where_set
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.system.files import check_texts, read_text
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.errors import shortened

_DEEPEST = 50
"""Files of a chain in which each extends the next."""


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
    # What a data set recommends today does not change a run that was made before.
    if isinstance(name, str) and not any(layer.complete for layer in layers):
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


def read_file(path: str | Path) -> list[Layer]:
    """A TOML file as layers, after the files that it ``extends``, whose paths are relative to it.

    A path that begins with ``scmrl:`` names one of the examples of the project.
    The configuration of a run, wherever the file is, is completed with the settings that came after the run. Of a
    file that several extend, the last position counts.
    """
    return _reversed_layers(_located(path), (), set())[::-1]


def _located(path: str | Path, folder: Path = Path()) -> Path:
    """The file that a path or the name of an example stands for; a path is relative to ``folder``."""
    text = str(path)
    return (
        examples.path_of(text.removeprefix(examples.PREFIX)) if text.startswith(examples.PREFIX) else folder / path
    )


def _reversed_layers(path: Path, chain: tuple[Path, ...], read: set[Path]) -> list[Layer]:
    """The layers of a file and of those that it extends but that are not ``read`` yet, the last one first."""
    extended = f" (extended by {chain[-1]})" if chain else ""
    try:
        resolved = path.resolve()
        if resolved in chain:
            names = " -> ".join(file.name for file in chain)
            raise UserError(f"{path}: extends itself through {names}; break the circle")
        if resolved in read:
            return []
        if len(chain) > _DEEPEST:
            raise UserError(f"{path}: extends more than {_DEEPEST} files one after the other; join some of them")
        read.add(resolved)
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file{extended}") from None
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, or a null byte in the name
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UserError(f"{path}: cannot be read as a configuration: {reason}{extended}") from None
    try:
        data = from_toml(text)
    except ValueError as error:
        raise UserError(f"{path}: {error}{extended}") from None
    bases = data.pop("extends", [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f'{path}: extends must be a list of file names, like ["base.toml"]')
    layer = Layer(str(path), data)
    layers = [completed(layer) if is_complete(data) else layer]
    for base in reversed(bases):
        layers += _reversed_layers(_located(base, path.parent), (*chain, resolved), read)
    return layers


def read_run(path: str | Path) -> ExperimentConfig:
    """The configuration of a run. A setting that it lacks has the value that it had when the run was made."""
    return compose(layers=[completed(layer) for layer in read_file(path)])


def parse_set(text: str) -> Layer:
    """``fusion.alpha=2.0`` as a layer; the value is TOML, or a string if it is not valid TOML."""
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {shortened(text, 200)}: write KEY=VALUE, such as --set fusion.alpha=2.0")
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
    if key := next(_not_utf8(data), ""):
        where = where_set(key, sources or {})
        raise UserError(f"{key}: a name that is not UTF-8; rename the file or folder, or link to it{where}")
    try:
        config = ExperimentConfig.model_validate(data)
    except ValidationError as error:
        raise explain(error, ExperimentConfig, "", dict(sources or {})) from None
    config._sources.update(sources or {})
    return config


def _not_utf8(value: Any, prefix: str = "") -> Iterator[str]:
    """The keys of texts that no file can hold, such as names of files in another encoding."""
    for key, inner in _items(value):
        if isinstance(inner, str) and any("\ud800" <= letter <= "\udfff" for letter in inner):
            yield f"{prefix}{key}"
        else:
            yield from _not_utf8(inner, f"{prefix}{key}.")


def to_toml(config: ExperimentConfig) -> str:
    """A configuration as TOML. Keys whose value is none, which TOML cannot express, are listed in ``unset``."""
    data = config.model_dump()
    return tomli_w.dumps({"unset": list(_none_keys(data)), **_without_none(data)})


def from_toml(text: str) -> dict[str, Any]:
    """Settings from TOML; keys in the list ``unset`` are none. Raises ``ValueError`` for what is not valid."""
    try:
        data = tomllib.loads(text)
        check_texts(data)
    except (ValueError, RecursionError) as error:
        reason = "a number has more than 4,300 digits" if "int_max_str_digits" in str(error) else error
        raise ValueError(f"not valid TOML: {reason}") from None
    unset = data.pop("unset", [])
    if not isinstance(unset, list) or not all(isinstance(key, str) and _set_none(data, key) for key in unset):
        raise ValueError('unset must be a list of keys that have no value in the file, like ["train.clip_grad"]')
    return data


def _set_none(data: dict[str, Any], key: str) -> bool:
    """Set a key such as ``loss.1.temperature`` to none; whether it can be set."""
    *sections, name = key.split(".")
    inner: Any = data
    for section in sections:
        if isinstance(inner, list) and section.isdecimal() and int(section) < len(inner):
            inner = inner[int(section)]
        elif isinstance(inner, dict):
            inner = inner.setdefault(section, {})
        else:
            return False
    return isinstance(inner, dict) and inner.setdefault(name) is None


def _none_keys(value: Any, prefix: str = "") -> Iterator[str]:
    for key, inner in _items(value):
        if inner is None and isinstance(value, dict):
            yield f"{prefix}{key}"
        else:
            yield from _none_keys(inner, f"{prefix}{key}.")


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value if inner is not None]
    return value
