"""Configurations of runs: complete when they were written, perhaps by a version with fewer settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import DataConfig, TrainConfig
from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.kinds import TABLE

_FIXED: dict[str, type[BaseModel]] = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig}
"""The sections of no component."""


def complete(data: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration with the settings that it lacks, which are newer than the run.

    Each gets the value that it had before it existed: ``before`` in the ``json_schema_extra`` of its field, else
    the default; likewise the section of a kind. A section whose component is unknown stays as it is.
    """
    newer = {kind.name: {"name": kind.before} for kind in TABLE.values() if kind.before}
    filled = {**newer, **data}
    for name, value in list(filled.items()):
        if name in _FIXED and isinstance(value, Mapping):
            filled[name] = _fill(value, _FIXED[name])
        elif name in TABLE and isinstance(value, list):
            filled[name] = [_complete_component(name, section) for section in value]
        elif name in TABLE:
            filled[name] = _complete_component(name, value)
    return filled


def completed(layer: Layer) -> Layer:
    """The layer of a run's configuration, complete."""
    return Layer(layer.source, complete(layer.data), complete=True)


def is_complete(data: Mapping[str, Any]) -> bool:
    """Whether settings are a run's configuration, which unlike a user's has every kind and every setting.

    Those that are none, and those that a run may lack as they have a value ``before``, may be missing.
    """
    always = {kind.name for kind in TABLE.values() if not kind.before}
    if not data.keys() >= always | _FIXED.keys():
        return False
    expected = ((data[name], key) for name, model in _FIXED.items() for key in _always(model))
    return all(isinstance(section, Mapping) and key in section for section, key in expected)


def _always(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if "before" not in _extra(field) and field.get_default(call_default_factory=True) is not None:
            yield name


def _complete_component(kind: str, section: Any) -> Any:
    try:
        return _fill(section, catalogue().get(kind, section["name"]).load().Config)
    except (UserError, TypeError, KeyError):  # reported where the component is built
        return section


def _fill(section: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    lacking = {name: field for name, field in model.model_fields.items() if name not in section}
    return {**section, **{name: _value(field) for name, field in lacking.items() if not field.is_required()}}


def _value(field: FieldInfo) -> Any:
    extra = _extra(field)
    return extra["before"] if "before" in extra else field.get_default(call_default_factory=True)


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
