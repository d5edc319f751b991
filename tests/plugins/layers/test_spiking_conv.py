"""What the layers save: a step repeated is computed once, samples go through a few at a time, layouts are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scmrl_plugins.plugins.layers import spiking_conv
from scmrl_plugins.plugins.layers.attention import mix
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF

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
    assert ours.keys() == theirs.keys()
    assert torch.equal(ours["out"], theirs["out"])
    assert 0 < ours["out"].mean() < 1
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_a_step_repeated_equals_its_copies(cls: Any, layout: torch.memory_format, training: bool) -> None:
    """With the running statistics, which count T times as many values."""
    x = image()
    once, every = make(cls, layout).train(training), make(cls, layout).train(training)
    calls: list[Tensor] = []
    once.conv.register_forward_hook(lambda _module, args, _out: calls.append(args[0]))
    ours = run(once, x, None)
    assert [call.shape[0] for call in calls] == [5]
    theirs = run(every, x.expand(4, *x.shape).contiguous(), None)
    theirs["x"] = theirs["x"].sum(0)
    assert_same(ours, theirs)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_the_running_variance_of_a_step_repeated(momentum: float | None) -> None:
    once, every = nn.BatchNorm2d(3, momentum=momentum).double(), nn.BatchNorm2d(3, momentum=momentum).double()
    for scale in (1.0, 3.0):
        y = image() * scale
        spiking_conv.norm(once, y, 4)
        every(y.repeat(4, 1, 1, 1))
    torch.testing.assert_close(once.running_var, every.running_var, rtol=1e-12, atol=0)
    torch.testing.assert_close(once.running_mean, every.running_mean, rtol=1e-12, atol=1e-15)
    assert once.num_batches_tracked == 2


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_samples_in_pieces_are_the_whole(
    cls: Any, layout: torch.memory_format, repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = image() if repeated else torch.stack([image() + t for t in range(4)])
    pool = nn.MaxPool2d(3, 2, 1)
    whole = run(make(cls, layout), x, pool)
    conv = make(cls, layout)
    shapes: list[int] = []
    pool.register_forward_hook(lambda _module, args, _out: shapes.append(args[0].shape[0]))
    monkeypatch.setattr(spiking_conv, "PIECE", 2 * 4 * 8 * 9 * 7)
    assert_same(run(conv, x, pool), whole)
    assert shapes == [8, 8, 4]  # 2, 2 and 1 of 5 samples, 4 steps each
    with torch.no_grad():
        steps = x if x.dim() == 5 else x.expand(4, *x.shape)
        assert torch.equal(conv(steps, pool), whole["out"])
        last = conv(steps, pool)[0].is_contiguous(memory_format=torch.channels_last)
    assert last == (layout == torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("repeated", [True, False])
def test_what_is_recomputed_is_the_same(repeated: bool, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, and running statistics, which the second forward pass leaves alone; pieces of it within."""
    monkeypatch.setattr(spiking_conv, "PIECE", 2 * 4 * 8 * 9 * 7)
    x = image() if repeated else torch.stack([image() + t for t in range(4)])
    found, pool = [], nn.MaxPool2d(3, 2, 1)
    for again in (False, True):
        conv = make(LIF, torch.channels_last).train(training)
        calls: list[int] = []
        conv.conv.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        leaf = x.detach().requires_grad_()
        steps = leaf if x.dim() == 5 else leaf.expand(4, *x.shape)
        out = spiking_conv.through(conv, steps, pool, recompute=again)
        out.sin().mul(torch.arange(out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
        learned = {name: p.grad for name, p in conv.named_parameters() if p.grad is not None}
        found.append({"out": out.detach(), "x": leaf.grad} | learned | dict(conv.named_buffers()))
        assert len(calls) == 1 + again
        assert conv.bn.num_batches_tracked == int(training)
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_without_gradients_nothing_is_kept_to_be_recomputed() -> None:
    conv = make(LIF, torch.contiguous_format)
    with torch.no_grad():
        spiking_conv.through(conv, image().expand(4, -1, -1, -1, -1), recompute=True)
    assert conv.bn.num_batches_tracked == 1


def test_a_watched_neuron_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spiking_conv, "PIECE", 1)
    conv, seen = make(LIF, torch.contiguous_format), []
    handle = conv.neuron.register_forward_hook(lambda _module, _args, out: seen.append(out.shape))
    conv(image().expand(4, -1, -1, -1, -1), nn.MaxPool2d(3, 2, 1))
    assert seen == [(4, 5, 8, 9, 7)]
    handle.remove()
    conv.neuron.requires_fp = True
    conv(image().expand(4, -1, -1, -1, -1), nn.MaxPool2d(3, 2, 1))
    assert [step.shape for step in conv.neuron.feature_map] == [(5, 8, 9, 7)] * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("n", "m", "d"), [(64, 64, 16), (4, 4, 16), (100, 3, 8), (3, 100, 8)])
def test_both_orders_of_attention_are_exact_for_spikes(n: int, m: int, d: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n)
    q, k, v = (torch.randint(0, 2, (2, size, d), generator=generator).to(dtype) for size in (n, m, m))
    exact = (q.long() @ k.long().transpose(1, 2)) @ v.long()
    assert torch.equal(mix(q, k, v), exact.to(dtype))
    assert torch.equal((q @ (k.mT @ v)).long() if dtype == torch.float64 else exact, exact)
    assert mix(q, k, v).dtype == dtype


def test_attention_takes_the_cheaper_order() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def operations(n: int, d: int) -> int:
        q = torch.ones(1, n, d)
        with FlopCounterMode(display=False) as flops:
            mix(q, q, q)
        return flops.get_total_flops()

    assert operations(64, 16) == 2 * (2 * 64 * 16 * 16)
    assert operations(4, 16) == 2 * (2 * 4 * 4 * 16)
    assert operations(4096, 16) == 4 * operations(1024, 16)
