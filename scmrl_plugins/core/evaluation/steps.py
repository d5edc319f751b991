"""What a model knows after each of its time steps."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import ModelOutput


def logits_by_step(output: ModelOutput) -> Tensor | None:
    """The prediction from the first t of T steps, ``[T, B, K]``; none for a read-out without ``step_logits``.

    z[t] = mean of the logits of the steps 1 ... t, so that z[T] are the logits of the model.
    """
    if output.step_logits is None:
        return None
    steps = output.step_logits.float()
    counts = torch.arange(1, len(steps) + 1, device=steps.device).view(-1, 1, 1)
    return steps.cumsum(0) / counts


def hits_by_step(output: ModelOutput, target: Tensor) -> Tensor | None:
    """How many predictions of the classes ``target [B]`` are right after each step, ``[T]``; none as above."""
    logits = logits_by_step(output)
    return None if logits is None else (logits.argmax(2) == target).sum(1)
