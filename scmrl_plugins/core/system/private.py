"""Every private name of torch, accelerate and datasets that the package uses.

Any release of theirs may change or remove one. ``tests/core/system/test_private.py`` checks each and reports what
breaks without it, so that a new version is a matter of this module.
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
    """C++ compiled for this machine, and kept in torch's cache on disk; raises whatever the compiler does.

    torch chooses the flags for vectors and threads, and locks the cache against other processes.
    """
    from torch._inductor.codecache import CppCodeCache

    return CppCodeCache.load(source)


def fix_sizes(x: Tensor, dims: Sequence[int]) -> None:
    """Let ``torch.compile`` take these sizes of ``x`` as constants, though others are dynamic."""
    torch._dynamo.mark_static(x, list(dims))


def operations_intercepted() -> bool:
    """Whether a ``TorchDispatchMode`` sees each operation, as where operations are counted."""
    return bool(torch._C._len_torch_dispatch_stack())


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether a hook sees the output of each call of the module."""
    return bool(module._forward_hooks)


def reset_accelerator() -> None:
    """Forget accelerate's settings of this process, which else refuse those of the next training in it."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def fingerprint(rows: datasets.Dataset) -> str:
    """A hash of the content of a data set, and of all that was done to it, without reading it."""
    return rows._fingerprint


def infer_features(rows: datasets.IterableDataset) -> Any:
    """The features of a stream without declared ones, from its first rows; none where it has no rows."""
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
