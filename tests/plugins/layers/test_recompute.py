"""Blocks computed again and samples in chunks: the same spikes, gradients, statistics and layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spiking_layers import LAYOUTS, assert_same, image, make, run
from torch import nn

from scmrl_plugins.plugins.layers import recompute
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_chunks_of_samples_give_the_full_batch(
    cls: Any, layout: torch.memory_format, repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = image() if repeated else torch.stack([image() + t for t in range(4)])
    pool = nn.MaxPool2d(3, 2, 1)
    whole = run(make(cls, layout), x, pool)
    conv = make(cls, layout)
    shapes: list[int] = []
    pool.register_forward_hook(lambda _module, args, _out: shapes.append(args[0].shape[0]))
    monkeypatch.setattr(recompute, "CHUNK", 2 * 4 * 8 * 9 * 7)
    assert_same(run(conv, x, pool), whole)
    assert shapes == [8, 8, 4]  # 2, 2 and 1 of 5 samples, 4 steps each
    with torch.no_grad():
        steps = x if x.dim() == 5 else x.expand(4, *x.shape)
        torch.testing.assert_close(conv(steps, pool), whole["out"])
        last = conv(steps, pool)[0].is_contiguous(memory_format=torch.channels_last)
    assert last == (layout == torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("repeated", [True, False])
def test_what_is_recomputed_is_the_same(repeated: bool, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, and running statistics, which the second forward pass leaves alone; pieces of it within."""
    monkeypatch.setattr(recompute, "CHUNK", 2 * 4 * 8 * 9 * 7)
    x = image() if repeated else torch.stack([image() + t for t in range(4)])
    found, pool = [], nn.MaxPool2d(3, 2, 1)
    for again in (False, True):
        conv = make(LIF, torch.channels_last).train(training)
        calls: list[int] = []
        conv.conv.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        leaf = x.detach().requires_grad_()
        steps = leaf if x.dim() == 5 else leaf.expand(4, *x.shape)
        out = recompute.checkpointed(conv, steps, pool, recompute=again)
        out.sin().mul(torch.arange(out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
        learned = {name: p.grad for name, p in conv.named_parameters() if p.grad is not None}
        found.append({"out": out.detach(), "x": leaf.grad} | learned | dict(conv.named_buffers()))
        assert len(calls) == 1 + again
        assert conv.bn.num_batches_tracked == int(training)
    assert_same(found[0], found[1])


def test_without_gradients_nothing_is_kept_to_be_recomputed() -> None:
    conv = make(LIF, torch.contiguous_format)
    with torch.no_grad():
        recompute.checkpointed(conv, image().expand(4, -1, -1, -1, -1), recompute=True)
    assert conv.bn.num_batches_tracked == 1
