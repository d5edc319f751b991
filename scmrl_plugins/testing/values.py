"""The values that components take and return: computed under a seed, named, converted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Fused, ModelOutput

SEED = 0


def call(component: Any, inputs: tuple[Any, ...], seed: int = SEED) -> dict[str, Tensor]:
    """The tensors that a component returns, by name, computed under the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return tensors(component(*inputs))


def tensors(value: Any, name: str = "output") -> dict[str, Tensor]:
    """Every tensor in a returned value, by its path, such as ``output.residuals.audio``."""
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, Fused | ModelOutput):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        inner = {key: item for key, item in value.items() if item is not None}
        return {path: t for key, item in inner.items() for path, t in tensors(item, f"{name}.{key}").items()}
    raise AssertionError(f"{name} is {type(value).__name__}, expected tensors")


def convert(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The value with ``change`` applied to every tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Fused | ModelOutput):
        fields = {field.name: convert(getattr(value, field.name), change) for field in dataclasses.fields(value)}
        return type(value)(**fields)
    if isinstance(value, Mapping):
        return {key: convert(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(convert(item, change) for item in value)
    return value
