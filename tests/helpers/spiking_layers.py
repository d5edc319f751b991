"""A small spiking convolution, what it computes forward and backward, and the comparison of two such results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def make(cls: Any, layout: torch.memory_format) -> SpikingConv:
    torch.manual_seed(0)
    conv = SpikingConv(3, 8, lambda **_: cls(cls.Config(threshold=0.5)), dims=2).double()
    nn.init.uniform_(conv.bn.weight, 0.5, 1.5)
    return conv.to(memory_format=layout)


def image(batch: int = 5) -> Tensor:
    return torch.randn(batch, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def run(conv: SpikingConv, x: Tensor, pool: nn.Module | None) -> dict[str, Tensor]:
    leaf = x.detach().requires_grad_()
    out = conv(leaf if x.dim() == 5 else leaf.expand(4, *x.shape), pool)
    out.sin().mul(torch.arange(out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    learned = {name: p.grad for name, p in conv.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": leaf.grad} | learned | dict(conv.named_buffers())


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert 0 < ours["out"].mean() < 1
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
