"""The state of an optimizer as named tensors and numbers, and back."""

from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from scmrl_plugins.core.system.private import step_without_compiler
from scmrl_plugins.registry import UserError

_GROUPS = "groups"
"""Stands where the index of a parameter does, for what optimizers such as Lamb keep by group of parameters."""
_OF_RECIPE = ("lr", "initial_lr", "lr_scale", "weight_decay")
"""The numbers of a group that the recipe decides, not the steps so far."""
_TRIED = 7
"""Steps after which every key is in the state of an optimizer."""


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
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    expected = _kinds(optimizer)
    for name, value in packed.items():
        index, _, key = name.partition(".")
        if index == _GROUPS:
            index, _, key = key.partition(".")
            if not 0 <= int(index) < len(groups):
                raise ValueError(f"there is no group {index} of parameters")
            if key in _OF_RECIPE or not _counts(value):
                raise ValueError(f"{name} is not a count of steps")
            groups[int(index)][key] = value
        else:
            number = int(index)
            if not 0 <= number < len(parameters):
                raise ValueError(f"there is no parameter {index}")
            _check(name, value, parameters[number], expected.get(key, set()))
            state.setdefault(number, {})[key] = _laid_out(value, parameters[number])
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _kinds(optimizer: Optimizer) -> dict[str, set[str]]:
    """What the values of an optimizer's state are, by key: those after some steps on small parameters.

    Empty for an optimizer that cannot be tried, such as one that wraps another.
    """
    # A step of the instance is bound to the original.
    rest = ("state", "param_groups", "step")
    others = {name: value for name, value in vars(optimizer).items() if name not in rest}
    if any(isinstance(value, Optimizer) for value in others.values()):
        return {}
    kinds: dict[str, set[str]] = {}
    with torch.random.fork_rng(devices=[]), contextlib.suppress(Exception):
        tried, small = copy.copy(optimizer), [_small(group) for group in optimizer.param_groups]
        vars(tried).update(copy.deepcopy(others), state=collections.defaultdict(dict), param_groups=small)
        vars(tried).pop("step", None)
        step_without_compiler(tried)
        for step in range(_TRIED):
            torch.default_generator.manual_seed(step)
            for parameter in (parameter for group in small for parameter in group["params"]):
                parameter.grad = torch.randn(parameter.shape)
            tried.step()
            for parameter, values in tried.state.items():
                for key, value in values.items():
                    kinds.setdefault(key, set()).add(_kind(value, parameter))
    return kinds


def _small(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group with a small parameter for each number of dimensions."""
    shapes = {parameter.dim(): [min(n, 4) for n in parameter.shape] for parameter in group["params"]}
    return {**group, "params": [torch.zeros(shape) for shape in shapes.values()]}


def _kind(value: Any, parameter: Tensor) -> str:
    """The type of a value, and of a tensor its shape compared with that of its parameter."""
    if not isinstance(value, Tensor):
        return "a number" if _counts(value) else type(value).__name__
    shape = "of its shape" if value.shape == parameter.shape else "with one value" if value.numel() == 1 else ""
    return f"a tensor {shape}" if value.is_floating_point() else f"a tensor of whole numbers {shape}"


def _check(name: str, value: Any, parameter: Tensor, expected: Set[str]) -> None:
    """``ValueError`` for a value of the state that no step writes; ``expected``: its kinds, if they are known."""
    if not isinstance(value, Tensor | int | float | str | None):
        raise ValueError(f"{name} is no value of a state")
    kind = _kind(value, parameter)
    if expected and kind not in expected:
        raise ValueError(f"{name} is {kind}, not {' or '.join(sorted(expected))}")
    if isinstance(value, Tensor) and value.numel() > max(1, parameter.numel()):
        raise ValueError(f"{name} has more values than its parameter")
    counted: Any = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if "step" in name and _counts(counted) and not 0 <= counted < 2**63:
        raise ValueError(f"{name} is no count of steps")


def _counts(value: Any) -> bool:
    """Whether a value is a number or a tensor."""
    if isinstance(value, int) and value.bit_length() > 63:
        return False
    return isinstance(value, Tensor | int | float) and not isinstance(value, bool)


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
        if _counts(value) and name.partition(".")[2] not in _OF_RECIPE:
            yield name, value
