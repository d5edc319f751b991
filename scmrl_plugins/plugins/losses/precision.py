"""Losses are computed in float32 or float64, independent of the precision of the model."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Convert half precision to float32; other types are unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context without automatic mixed precision: products have the precision of their factors."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)
