"""Weights and training states in safetensors files. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, FiniteFloat, TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scmrl_plugins.core.run import moments
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError

PACKED = "scmrl"
"""The only metadata key; its value is JSON. With several keys, safetensors would not fix their order."""
_BESIDE_REASON = re.compile(r"^Error while serializing: I/O error: | \(os error \d+\)$")
"""What safetensors says beside the reason of the system."""

Count = Annotated[int, Field(ge=0, lt=2**63)]


class DamagedFileError(UserError):
    """A file whose content has changed since it was written."""


@dataclass
class TrainingState:
    """The position of a run: completed epochs, completed steps of the next epoch with their sums, and the best
    epoch so far on the selecting split.
    """

    epoch: Count = 0
    step: Count = 0
    sums: dict[str, FiniteFloat] = field(default_factory=dict)
    best_epoch: Count = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")


def save_weights(path: Path, module: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's ``state_dict`` atomically."""
    _write(path, dict(module.state_dict()), dict(metadata or {}))


def load_weights(path: Path, module: nn.Module) -> None:
    """Load a module's ``state_dict``.

    Raises ``UserError`` for a damaged file, another model, or values that are not finite where the module's are.
    """
    tensors, _ = _read(path)
    for name, start in module.state_dict().items():
        if name in tensors and not tensors[name].isfinite().all() and start.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite: restore the file or train again")
    _fill(path, module, tensors)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata that ``save_weights`` wrote. Raises ``UserError`` for a damaged file."""
    return _read(path)[1]


def save_training(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write weights, optimiser state and position of a run and, in half precision, the state of the scaler."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    packed, scalars = moments.pack(optimizer)
    tensors |= {f"optimizer.{name}": tensor for name, tensor in packed.items()}
    _write(
        path,
        tensors,
        {
            "state": json.dumps(asdict(state)),
            "optimizer": json.dumps(scalars),
            "optimizer_type": type(optimizer).__name__,
            "scaler": json.dumps(scaler.state_dict() if scaler else {}),
        },
    )


def load_training(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> TrainingState:
    """Load a file of ``save_training`` into the given objects. Raises ``UserError`` like ``load_weights``."""
    tensors, metadata = _read(path)
    packed = {name.removeprefix("optimizer."): t for name, t in tensors.items() if name.startswith("optimizer.")}
    try:
        state = TrainingState(**json.loads(metadata["state"]))
        scaling = json.loads(metadata.get("scaler", "{}"))
        packed |= json.loads(metadata["optimizer"])
        saved = metadata["optimizer_type"]
        TypeAdapter(TrainingState).validate_json(metadata["state"], strict=True)
    except (KeyError, RecursionError, TypeError, ValueError):
        raise UserError(f"{path}: not a checkpoint of a training run") from None
    if saved != type(optimizer).__name__:
        raise UserError(
            f"{path}: saved with {saved}, but train.optimizer is {type(optimizer).__name__}: restore the setting"
        )
    weights = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
    _fill(path, module, weights)
    try:
        moments.unpack(optimizer, packed)
        if scaler and scaling:
            TypeAdapter(dict[str, FiniteFloat]).validate_python(scaling)
            scaler.load_state_dict(scaling)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: the optimiser state does not match ({error!r}): was train.optimizer changed?"
        ) from None
    return state


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    saved = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with files.replacing(path) as temporary:
            packed = json.dumps({**metadata, "sha256": _digest(saved, metadata)}, sort_keys=True)
            save_file(saved, temporary, metadata={PACKED: packed})
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or _BESIDE_REASON.sub("", str(error))
        raise UserError(f"{path}: cannot be saved ({reason}); free space or make the folder writable") from error


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of tensors and metadata; safetensors has no checksum."""
    digest = hashlib.sha256(json.dumps({**metadata}, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    files.check_regular(path)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path}: damaged or not a safetensors file ({error})") from None
    if PACKED not in metadata:
        return tensors, metadata  # written by an earlier version or another program
    try:
        metadata = dict(json.loads(metadata[PACKED]))
        intact = metadata.pop("sha256", "") == _digest(tensors, metadata)
    except (ValueError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise DamagedFileError(
            f"{path}: damaged: the content has changed since it was written; restore it or train again"
        )
    return tensors, metadata


def _fill(path: Path, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    expected = module.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys()) or [
        name for name, tensor in tensors.items() if tensor.shape != expected[name].shape
    ]
    if wrong:
        raise UserError(
            f"{path}: the weights do not fit the model (first difference: {wrong[0]!r}): "
            f"was config.toml changed, or a plugin updated?"
        )
    for name, tensor in tensors.items():
        if tensor.dtype != expected[name].dtype:
            have, want = (str(one.dtype).removeprefix("torch.") for one in (tensor, expected[name]))
            raise UserError(f"{path}: {name} is {have}, the model has {want}: restore the file or train again")
    module.load_state_dict(tensors)
