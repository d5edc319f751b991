"""Shared by the alignment losses: one feature per sample and modality, and their similarities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.plugins.losses.precision import full, no_autocast
from scmrl_plugins.registry import UserError

EPS = 1e-2
"""Norm below which a feature counts as silent. Most features are zero or have a norm of at least 0.1."""


def features(output: ModelOutput, loss: str) -> tuple[Tensor, Tensor]:
    """The mean residuals over time ``[B, D]``, audio and visual. Raises ``UserError`` if there are none."""
    if output.aligned is None or not {"audio", "visual"} <= output.aligned.keys():
        raise UserError(
            f"loss {loss!r} aligns the residuals of both modalities, but this fusion returns none: "
            "choose a fusion such as 'cmrl', or remove the loss"
        )
    audio, visual = (full(output.aligned[name]).mean(0) for name in ("audio", "visual"))
    return audio, visual


def normalise(x: Tensor) -> Tensor:
    """x / sqrt(|x|^2 + EPS^2) over the last axis: a silent feature stays zero, with a gradient of 1 / EPS."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPS**2)


def log_matches(audio: Tensor, visual: Tensor, temperature: float) -> Tensor:
    """log softmax_j(a_i . v_j / temperature): ``[B, D], [B, D] -> [B, B]``."""
    with no_autocast(audio):
        return F.log_softmax(audio @ visual.T / temperature, dim=1)


def same_class(target: Tensor) -> Tensor:
    """1[y_i = y_j]: ``[B] -> [B, B]``, boolean."""
    return target.unsqueeze(1) == target.unsqueeze(0)
