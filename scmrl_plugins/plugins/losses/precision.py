"""Losses are computed in float32 or better, whatever the model computes in."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Half precision to float32; others stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Products inside are taken in the precision of their factors, under automatic mixed precision too."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)
