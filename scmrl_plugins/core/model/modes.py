"""Forward passes that leave no trace in a model: neither in its modes nor in its running statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from scmrl_plugins.core.system.private import BatchNorm


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def spared_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm keeps its running statistics, also in training mode."""
    kept = [(norm, dict(norm._buffers)) for norm in module.modules() if isinstance(norm, BatchNorm)]
    for norm, buffers in kept:
        # Copies to be updated: a backward pass may need the originals as they are.
        norm._buffers.update({name: x if x is None else x.clone() for name, x in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in kept:
            norm._buffers.update(buffers)
