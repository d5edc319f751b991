"""Attention in C++ against the same by products of matrices: of spikes to the bit, as their sums are exact."""

from __future__ import annotations

import pytest
import torch
from compiler import needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.kernels import attention as kernel
from scmrl_plugins.plugins.layers.attention import SpikingAttention, TemporalAttention
from scmrl_plugins.plugins.neurons.lif import LIF

pytestmark = [needs_compiler, pytest.mark.numerical]


def tokens(steps: int, batch: int, dims: int, count: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Spikes ``[T, B, D, N]``, the channels of a token adjacent."""
    generator = torch.Generator().manual_seed(seed)
    spikes = torch.rand(steps, batch, count, dims, generator=generator) < 0.3
    return spikes.to(dtype).mT.requires_grad_()


def attention(cls: type[SpikingAttention], dims: int, heads: int) -> SpikingAttention:
    return cls(Context(4, dims, heads, 16, 2, {"visual": 1}, neuron=lambda: LIF(LIF.Config())))


@pytest.mark.parametrize("cls", [SpikingAttention, TemporalAttention])
@settings(deadline=None, max_examples=40)
@given(
    dtype=st.sampled_from([torch.float32, torch.float64]),
    steps=st.integers(1, 5),
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    size=st.sampled_from([8, 16, 24]),
    queries=st.integers(1, 9),
    keys=st.integers(1, 9),
)
def test_attention_and_its_gradients(
    cls: type[SpikingAttention],
    dtype: torch.dtype,
    steps: int,
    batch: int,
    heads: int,
    size: int,
    queries: int,
    keys: int,
) -> None:
    layer = attention(cls, heads * size, heads)
    keys = keys if cls is SpikingAttention else queries
    given = [tokens(steps, batch, heads * size, n, dtype, seed) for seed, n in enumerate([queries, keys, keys])]
    found = []
    for policy in ("never", "always"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCMRL_COMPILE", policy)
            out = layer.attend(*given)
            grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
            found.append((out, torch.autograd.grad(out, given, grad)))
    (expected, theirs), (out, ours) = found
    assert torch.equal(out, expected)
    assert out.mT.is_contiguous()
    for mine, other in zip(ours, theirs, strict=True):
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


def test_where_it_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    x = tokens(4, 2, 32, 9, torch.float32, 0)
    assert kernel.attend(x, x, x, "tokens", 4, 0.25) is not None
    assert kernel.attend(x.contiguous(), x, x, "tokens", 4, 0.25) is None  # channels first
    assert kernel.attend(x, x, x, "tokens", 8, 0.25) is None  # heads of 4 channels
    half = x.to(torch.bfloat16)
    assert kernel.attend(half, half, half, "tokens", 4, 0.25) is None
    layer = attention(SpikingAttention, 32, 4)
    layer.requires_attention = True
    layer.attend(x, x, x)
    assert layer.attention_weights is not None  # a tool asked for them
    monkeypatch.setenv("SCMRL_COMPILE", "never")
    assert kernel.attend(x, x, x, "tokens", 4, 0.25) is None


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    x, found, threads = tokens(4, 3, 32, 9, torch.float32, 0), [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        out = kernel.attend(x, x, x, "steps", 4, 0.25)
        assert out is not None
        found.append((out, *torch.autograd.grad(out.square().sum(), x)))
    torch.set_num_threads(threads)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
