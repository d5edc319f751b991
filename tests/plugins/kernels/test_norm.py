"""Batch norm, neuron and pooling in one pass in C++ against torch's batch norm before the neuron.

Sums are in another order, so that a membrane at the threshold may fall on its other side: in float64 none did.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from compiler import needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scmrl_plugins.plugins.kernels.norm import Norm
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv, norm
from scmrl_plugins.plugins.neurons.integrate_and_fire import IF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF

pytestmark = [needs_compiler, pytest.mark.numerical]


def batch(steps: int, channels: int, size: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """``[T, B, C, H, W]``, channels last, each channel with its own mean and spread."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, 3, size, size + 1, channels, generator=generator, dtype=torch.float64)
    x = x * (1 + torch.rand(channels, generator=generator)) + torch.randn(channels, generator=generator)
    return x.to(dtype).movedim(-1, 2)


def made(cls: Any, channels: int, dtype: torch.dtype, momentum: float | None = 0.1) -> tuple[Any, nn.BatchNorm2d]:
    bn = nn.BatchNorm2d(channels, momentum=momentum).to(dtype)
    generator = torch.Generator().manual_seed(1)
    for values in (bn.weight.data, bn.bias.data, bn.running_mean):
        assert values is not None
        values.normal_(generator=generator)
    return cls(cls.Config()).to(dtype), bn


def separate(neuron: Any, bn: nn.BatchNorm2d, y: Tensor, pool: nn.Module | None, steps: int) -> Tensor:
    z = norm(bn, y.flatten(0, 1), steps // len(y)).unflatten(0, y.shape[:2])
    spikes = neuron(z.expand(steps, *z.shape[1:]))
    return spikes if pool is None else pool(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])


def results(out: Tensor, y: Tensor, neuron: Any, bn: nn.BatchNorm2d) -> dict[str, Tensor]:
    """The spikes, all gradients, and the running statistics."""
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out.dtype)
    learned = {name: p for part in (neuron, bn) for name, p in part.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad((out * weight).sum(), [y, *learned.values()])
    found = dict(zip(["y", *learned], gradients, strict=True))
    return {"spikes": out.detach(), **found, **{name: x.clone() for name, x in bn.named_buffers()}}


@pytest.mark.parametrize("cls", [LIF, PLIF, IF])
@settings(deadline=None, max_examples=40)
@given(
    dtype=st.sampled_from([torch.float32, torch.float64]),
    steps=st.integers(1, 5),
    repeated=st.booleans(),
    channels=st.sampled_from([1, 3, 8, 24, 33, 600]),
    size=st.integers(1, 9),
    pool=st.sampled_from([None, nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2)]),
    training=st.booleans(),
    momentum=st.sampled_from([0.1, 1.0, None]),
)
def test_one_pass_is_batch_norm_neuron_and_pooling(
    cls: Any,
    dtype: torch.dtype,
    steps: int,
    repeated: bool,
    channels: int,
    size: int,
    pool: nn.Module | None,
    training: bool,
    momentum: float | None,
) -> None:
    size = max(size, 2)
    neuron, bn = made(cls, channels, dtype, momentum)
    bn.train(training)
    other = copy.deepcopy(bn)
    y = batch(1 if repeated else steps, channels, size, dtype).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCMRL_COMPILE", "always")
        out = neuron.normalized(y, bn, pool, steps)
        ours = results(out, y, neuron, bn)
        patch.setenv("SCMRL_COMPILE", "never")
        assert neuron.normalized(y, bn, pool, steps) is None
        theirs = results(separate(neuron, other, y, pool, steps), y, neuron, other)
    differs = ours["spikes"] != theirs["spikes"]
    if dtype == torch.float64:
        assert not differs.any()
    if differs.any():  # then gradients differ too
        assert differs.float().mean() < 1e-3
        return
    for name, expected in theirs.items():
        largest = float(expected.abs().max())
        tolerance = (2e-5 if dtype == torch.float32 else 1e-9) * max(largest, 1)
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("cls", [LIF, PLIF, IF])
@pytest.mark.parametrize("training", [True, False])
def test_single_precision_decides_otherwise_only_at_the_threshold(
    cls: Any, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the equation in double precision, up to the first spike that differs."""
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    neuron, bn = made(cls, 24, torch.float32)
    bn.train(training)
    exact, spec = copy.deepcopy(bn).double(), neuron.integrate_and_fire()
    y = batch(4, 24, 40, torch.float32)
    spikes = neuron.normalized(y, bn, None, 4)
    with torch.no_grad():
        z = exact(y.double().flatten(0, 1)).unflatten(0, y.shape[:2])
    v, same = torch.zeros_like(z[0]), torch.ones_like(z[0], dtype=torch.bool)
    for current, fired in zip(z, spikes, strict=True):
        v = v + current if spec.tau is None else v + (current - v) / spec.tau
        fires = v >= spec.threshold
        differs = same & (fires != fired.bool())
        assert not differs.any() or float((v[differs] - spec.threshold).abs().max()) < 1e-5
        same &= ~differs
        v = v * ~fires
    assert same.float().mean() > 0.9999
    assert spikes.any()
    assert not spikes.all()


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_statistics_are_exact_where_the_mean_is_large(offset: float) -> None:
    x = torch.randn(5000, 7, generator=torch.Generator().manual_seed(0)) * 0.1 + offset
    found = Norm.of_batch(x, None, None, 1e-5)
    variance, mean = torch.var_mean(x.double(), 0, correction=0)
    torch.testing.assert_close(found.mean.double(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.variance.double(), variance, rtol=1e-5, atol=0)


def test_what_is_observed_or_of_another_kind_runs_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    neuron, bn = made(LIF, 8, torch.float32)
    y = batch(4, 8, 5, torch.float32)
    assert neuron.normalized(y, bn, None, 4) is not None
    assert neuron.normalized(y.contiguous(), bn, None, 4) is None  # channels first
    assert neuron.normalized(y, bn.double(), None, 4) is None
    assert neuron.normalized(y, nn.SyncBatchNorm(8), None, 4) is None
    assert neuron.normalized(y, made(LIF, 8, torch.float32)[1], nn.AvgPool2d(2), 4) is None
    seen: list[Tensor] = []
    conv = SpikingConv(3, 8, lambda: LIF(LIF.Config()), dims=2)
    conv.bn.register_forward_hook(lambda *_: seen.append(_[-1]))
    x = torch.rand(4, 2, 3, 6, 6).flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
    conv(x)
    assert len(seen) == 1


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    y, found, threads = batch(4, 24, 24, torch.float32).requires_grad_(), [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        neuron, bn = made(PLIF, 24, torch.float32)
        for pool in (None, nn.MaxPool2d(3, 2, 1)):
            found.append(results(neuron.normalized(y, bn, pool, 4), y, neuron, bn))
    torch.set_num_threads(threads)
    for one, other in ((found[0], found[2]), (found[1], found[3])):
        for name, values in one.items():
            assert torch.equal(values, other[name]), name
