"""The state of an optimizer as named tensors and numbers, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from scmrl_plugins.registry import UserError

_GROUPS = "groups"
"""Stands where the index of a parameter does, for what optimizers such as Lamb keep by group of parameters."""
_OF_RECIPE = ("lr", "initial_lr", "lr_scale", "weight_decay")
"""The numbers of a group that the recipe decides, not the steps so far."""


def pack(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain values, by ``INDEX.KEY`` of a parameter and ``groups.INDEX.KEY`` of a group.

    Raises ``UserError`` for an optimizer with other state.
    """
    saved = optimizer.state_dict()
    state, groups = saved.pop("state"), saved.pop("param_groups")
    if saved:
        raise UserError(f"its {min(saved)} cannot be saved")
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in [*_named(state), *((f"{_GROUPS}.{name}", value) for name, value in _counters(groups))]:
        if isinstance(value, Tensor):
            tensors[name] = value
        elif value is None or isinstance(value, bool | int | float | str):
            values[name] = value
        else:
            raise UserError(f"its {name.rpartition('.')[2]} cannot be saved")
    return tensors, values


def unpack(optimizer: Optimizer, packed: Mapping[str, Any]) -> None:
    """Restore what ``pack`` gave, both together. Raises ``LookupError``, ``TypeError`` or ``ValueError``
    if it does not fit.
    """
    state: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for name, value in packed.items():
        index, _, key = name.partition(".")
        if index == _GROUPS:
            index, _, key = key.partition(".")
            if not 0 <= int(index) < len(groups):
                raise ValueError(f"there is no group {index} of parameters")
            groups[int(index)][key] = value
        else:
            state.setdefault(int(index), {})[key] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state.items():
        values.update({key: _laid_out(value, parameters[number]) for key, value in values.items()})
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """``value`` in the memory layout of its parameter, such as channels-last: sums over it round by its layout."""
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
    return value


def _named(state: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for index, values in state.items():
        for key, value in values.items():
            yield f"{index}.{key}", value


def _counters(groups: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, value in _named(dict(enumerate(groups))):
        counts = isinstance(value, Tensor | int | float) and not isinstance(value, bool)
        if counts and name.partition(".")[2] not in _OF_RECIPE:
            yield name, value
