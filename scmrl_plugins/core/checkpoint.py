"""Weights and training state on disk, all in safetensors: nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scmrl_plugins.core import files
from scmrl_plugins.registry import UserError


@dataclass
class TrainingState:
    """Where a run stands: epochs done, and the best one so far by the split that chooses."""

    epoch: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")


def save_weights(path: Path, module: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's ``state_dict``, whole or not at all."""
    _write(path, dict(module.state_dict()), dict(metadata or {}))


def load_weights(path: Path, module: nn.Module) -> None:
    """Read a module's ``state_dict``; ``UserError`` for a damaged file or one of another model."""
    tensors, _ = _read(path)
    _fill(path, module, tensors)


def save_training(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Write weights, optimiser and position of a run."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars[f"{index}.{key}"] = value
    _write(
        path,
        tensors,
        {
            "state": json.dumps(asdict(state)),
            "optimizer": json.dumps(scalars),
            "optimizer_type": type(optimizer).__name__,
        },
    )


def load_training(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Read what ``save_training`` wrote into the given module and optimiser; ``UserError`` as above."""
    tensors, metadata = _read(path)
    moments: dict[int, dict[str, Any]] = {}
    flat = {name.removeprefix("optimizer."): t for name, t in tensors.items() if name.startswith("optimizer.")}
    try:
        state = TrainingState(**json.loads(metadata["state"]))
        for name, value in {**flat, **json.loads(metadata["optimizer"])}.items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a checkpoint of a training run") from None
    if (saved := metadata.get("optimizer_type")) != type(optimizer).__name__:
        raise UserError(
            f"{path}: the state of {saved}, and train.optimizer asks for {type(optimizer).__name__}: set it back"
        )
    weights = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
    _fill(path, module, weights)
    try:
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: the state of another optimiser ({error!r}): was train.optimizer changed?"
        ) from None
    return state


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.replacing(path) as temporary:
        save_file(whole, temporary, metadata=metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({error})") from None


def _fill(path: Path, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = module.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys()) or [
        name for name, tensor in tensors.items() if tensor.shape != own[name].shape
    ]
    if wrong:
        raise UserError(
            f"{path}: the weights are of another model (they differ at {wrong[0]!r}): "
            f"was config.toml changed, or a plugin updated?"
        )
    module.load_state_dict(tensors)
