"""Fusion blocks at sizes a test can do by hand, and streams of spikes for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context

Make = Callable[..., Context]


T, B, D, N = 3, 2, 8, 9


def streams(tokens: int = N, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 2, (T, B, D, n), generator=draw).double() for n in (N, tokens))  # type: ignore[return-value]


def built(cls: type, context: Context, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return cls(cls.Config(**options), context).double().eval()
