"""Weights in checkpoints of other programs: the tensors by name, and nothing that runs code."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scmrl_plugins.core.system import files, private
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import shortened

LARGEST = 16 * 2**30
"""Bytes of a checkpoint."""
LARGEST_PICKLE = 2 * 2**30
"""Bytes of one of torch's oldest format, which is read into memory."""
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights")
"""The keys under which checkpoints keep weights beside other things, such as the optimizer's state."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What parallel training, ``torch.compile`` and wrappers put before the names."""
OTHERS = ("optimizer.",)
"""Prefixes of what is not weights."""
_DEEPEST = 4
_SCALAR: Any = np.float64(0).__reduce__()[0]  # what makes a number of numpy from its bytes
# Beside tensors, common checkpoints hold the options of their training and figures. None of these runs code.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint by name, and how they were found."""

    tensors: dict[str, Tensor]
    container: str
    """The keys that lead to the weights, ``state_dict`` or ``model.state_dict``; empty for the file itself."""
    stripped: tuple[str, ...]
    """The prefixes that were taken off names."""


def read(path: Path) -> Checkpoint:
    """The weights in a file of safetensors or of ``torch.save``; nothing in it is run.

    Raises ``UserError`` for a file that cannot be read, is too large, holds objects other than tensors and plain
    values, or has no weights.
    """
    files.check_name(path)
    files.check_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    if size > LARGEST:
        raise UserError(f"{path}: larger than {LARGEST >> 30} GiB: save only the weights")
    # A file of safetensors begins with the length of its header, which is JSON.
    loaded: Any = _safetensors(path) if start[8:] == b"{" else _pickled(path, size)
    tensors, keys = _weights(loaded, ())
    if not tensors:
        raise UserError(f"{path}: has no weights, that is tensors by name: save a state_dict")
    return _without_prefixes(path, tensors, ".".join(keys))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({_reason(error)})") from None


def _pickled(path: Path, size: int) -> Any:
    """What ``torch.save`` wrote, without running the code that a pickle may hold."""
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_stored(path, size)
    elif size > LARGEST_PICKLE:
        raise UserError(f"{path}: larger than {LARGEST_PICKLE >> 30} GiB: save it again, with torch of today")
    try:
        with (
            torch.serialization.safe_globals(_HARMLESS),
            private.short_unpickling_errors(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of a protocol that torch may not read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if found := re.search(r"GLOBAL ([\w.]+)|reduce for unrecognized function (.{1,100})", reason):
            name = shortened(found[1] or found[2], 100)
            raise UserError(
                f"{path}: holds objects whose code would run ({name}), which is refused: save its state_dict, "
                f"torch.save(model.state_dict(), FILE)"
            ) from None
        # Not in torch's words, which advise to load it with the code that it may hold.
        raise UserError(f"{path}: damaged or no checkpoint of torch or safetensors: save a state_dict") from None
    except Exception as error:  # torch raises any error for a damaged file
        raise UserError(f"{path}: damaged or no checkpoint ({_reason(error)})") from None


def _check_stored(path: Path, size: int) -> None:
    """``UserError`` for an archive that would expand: torch compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile too raises many
        raise UserError(f"{path}: damaged or no checkpoint ({_reason(error)})") from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > size
    ):
        raise UserError(f"{path}: a compressed archive, which torch.save does not write: save the state_dict")


def _reason(error: BaseException) -> str:
    return shortened(" ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split()), 200)


def _weights(loaded: Any, keys: tuple[str, ...]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The mapping of names to tensors, and the keys that lead to it; an empty one if there is none."""
    if not isinstance(loaded, Mapping) or len(keys) > _DEEPEST:
        return {}, keys
    tensors = {name: x for name, x in loaded.items() if isinstance(name, str) and isinstance(x, Tensor)}
    for key in CONTAINERS:
        inner, inside = _weights(loaded.get(key), (*keys, key))
        if len(inner) > len(tensors):
            return inner, inside
    return tensors, keys


def _without_prefixes(path: Path, tensors: Mapping[str, Tensor], container: str) -> Checkpoint:
    found: dict[str, Tensor] = {}
    stripped: dict[str, None] = {}
    for name, tensor in tensors.items():
        if name.startswith(OTHERS):
            continue
        short = name
        while prefix := next((one for one in PREFIXES if short.startswith(one)), None):
            short = short.removeprefix(prefix)
            stripped[prefix] = None
        if short in found:
            raise UserError(f"{path}: {shortened(short, 100)} is there twice, with and without a prefix: save one")
        found[short] = tensor
    return Checkpoint(found, container, tuple(stripped))
