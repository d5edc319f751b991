"""Batch norm folded into the convolutions, for inference."""

from __future__ import annotations

from typing import Any

from torch import nn

from scmrl_plugins.core.interfaces import Foldable


def optimize(model: nn.Module) -> int:
    """Put a model into evaluation mode, call ``fold()`` on every ``Foldable`` module, and count those that folded.

    In place: the model computes the same up to rounding, but can no longer be trained, and its weights no longer
    fit those of a run.
    """
    model.eval()
    # By the class: a submodule called fold is not a method.
    foldable: list[Any] = [module for module in model.modules() if issubclass(type(module), Foldable)]
    return sum(bool(module.fold()) for module in foldable)
