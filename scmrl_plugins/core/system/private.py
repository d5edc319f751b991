"""Every private name of torch, accelerate and datasets that the package uses.

Any release of these libraries may change or remove one. ``tests/core/system/test_private.py`` checks each and
reports what breaks without it, so that only this module has to follow.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

if TYPE_CHECKING:
    import datasets


def compile_cpp(source: str) -> ctypes.CDLL:
    """Compile C++ for this machine and cache the result in torch's cache on disk.

    torch selects the flags for vectorisation and threads, and locks the cache. Raises the errors of the compiler.
    """
    from torch._inductor.codecache import CppCodeCache

    return CppCodeCache.load(source)


def fix_sizes(x: Tensor, dims: Sequence[int]) -> None:
    """Make ``torch.compile`` treat these sizes of ``x`` as constants, even if others are dynamic."""
    torch._dynamo.mark_static(x, list(dims))


def operations_intercepted() -> bool:
    """Whether a ``TorchDispatchMode`` is active, for example to count operations."""
    return bool(torch._C._len_torch_dispatch_stack())


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether the module has forward hooks."""
    return bool(module._forward_hooks)


def reset_accelerator() -> None:
    """Reset accelerate's state, which otherwise rejects the settings of the next training in this process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def fingerprint(rows: datasets.Dataset) -> str:
    """A hash of a data set's content and transformations, computed without reading it."""
    return rows._fingerprint


def infer_features(rows: datasets.IterableDataset) -> Any:
    """The features of a stream, inferred from its first rows; ``None`` if it has no rows."""
    return rows._resolve_features().features


__all__ = [
    "BatchNorm",
    "TorchDispatchMode",
    "compile_cpp",
    "fingerprint",
    "fix_sizes",
    "has_forward_hooks",
    "infer_features",
    "operations_intercepted",
    "reset_accelerator",
    "tree_leaves",
    "tree_map",
    "tree_map_only",
]
