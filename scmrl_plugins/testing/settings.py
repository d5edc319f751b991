"""What every component promises about its settings and tags."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import torch
from pydantic import ValidationError

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import TAGS
from scmrl_plugins.registry import KINDS, UserError
from scmrl_plugins.registry.errors import describe, near
from scmrl_plugins.registry.kinds import MODULES
from scmrl_plugins.testing.checks import check, fail, require
from scmrl_plugins.testing.subject import Subject
from scmrl_plugins.testing.values import call


@check(*KINDS)
def check_tags_are_known(subject: Subject) -> None:
    """``tags`` is a set of words from ``scmrl_plugins.core.interfaces.TAGS``."""
    declared: Any = (subject.build() if subject.row.is_module else subject.cls).tags
    require(isinstance(declared, set | frozenset), f"tags is {type(declared).__name__}, expected a set")
    for tag in sorted(declared - TAGS.keys()):
        fail(f"unknown tag {tag!r}{near(str(tag), TAGS)}; tags are {', '.join(TAGS)}")


@check(*KINDS)
def check_configuration_round_trip(subject: Subject) -> None:
    """The configuration survives being written as TOML and read again, and it is frozen."""
    config = subject.config()
    experiment = ExperimentConfig.model_validate(subject.sections())
    try:
        again = ExperimentConfig.model_validate(layers.from_toml(layers.to_toml(experiment)))
        section = again.section(subject.kind)
        options = (section[-1] if subject.row.repeats else section).options
        read = type(config).model_validate(options)
    except Exception as error:
        raise AssertionError(f"cannot be written as TOML and read again: {describe(error)}") from error
    require(read == config, f"{config!r} came back from TOML as {read!r}")
    for name in type(config).model_fields:
        try:
            setattr(config, name, getattr(config, name))
        except ValidationError:
            return
        fail("its Config can be changed: make it a subclass of ComponentConfig")


@check(*KINDS)
def check_unknown_setting_is_refused(subject: Subject) -> None:
    """An unknown setting is refused, not ignored."""
    try:
        subject.cls.Config.model_validate({**subject.fixture(), **subject.options, "no_such_setting": 1})
    except ValidationError:
        return
    fail("its Config takes settings that it does not have: make it a subclass of ComponentConfig")


@check(*MODULES)
def check_every_choice_runs(subject: Subject) -> None:
    """With every value of a boolean or literal setting the component runs, or raises a ``UserError``."""
    config = subject.config()
    for name, value in choices(type(config)):
        try:
            component = subject.build(config=type(config).model_validate({**config.model_dump(), name: value}))
            outputs = call(component, subject.inputs())
        except (UserError, ValidationError):  # the user sees what a Config refuses as a UserError
            continue
        except Exception as error:
            raise AssertionError(f"with {name} = {value!r} it fails: {describe(error)}") from error
        for where, tensor in outputs.items():
            require(bool(torch.isfinite(tensor).all()), f"with {name} = {value!r}, {where} is not finite")


def choices(config: Any) -> Iterator[tuple[str, Any]]:
    """Every value of every boolean or literal setting, by the name of the setting."""
    for name, field in config.model_fields.items():
        annotation = field.annotation
        union = get_origin(annotation) in (Union, types.UnionType)  # of Literal["a"] | None it is Union
        options = get_args(annotation) if union else (annotation,)
        for option in options:
            if option is bool:
                yield from ((name, True), (name, False))
            elif get_origin(option) is Literal:
                yield from ((name, value) for value in get_args(option))
