"""Neurons in C++ against the same op by op: spikes to the bit, as each operation rounds alike everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compiler import needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scmrl_plugins.plugins.kernels.neuron import SURROGATES as IN_CPP
from scmrl_plugins.plugins.kernels.neuron import Kernel
from scmrl_plugins.plugins.neurons.alif import ALIF
from scmrl_plugins.plugins.neurons.integrate_and_fire import IF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES
from scmrl_plugins.plugins.neurons.ternary import Ternary

pytestmark = [needs_compiler, pytest.mark.numerical]

NEURONS = [(LIF, {"tau": 2.0}), (LIF, {"tau": 3.0}), (PLIF, {"tau": 3.0}), (IF, {})]


def images(steps: int, dtype: torch.dtype, seed: int, size: int = 9) -> Tensor:
    """``[T, B, C, H, W]`` in channels-last layout."""
    x = torch.randn(steps * 3, 6, size, size - 1, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2
    return x.contiguous(memory_format=torch.channels_last).unflatten(0, (steps, 3))


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return torch.autograd.grad((out * weight).sum(), inputs)


def agree(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        tolerance = 2e-5 if mine.dtype == torch.float32 else 1e-12
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def built(cls: Any, options: dict[str, float], surrogate: str, dtype: torch.dtype) -> tuple[Any, list[Tensor]]:
    neuron = cls(cls.Config(surrogate=surrogate, **options)).to(dtype)
    return neuron, [p for p in neuron.parameters() if p.requires_grad]


def test_the_library_knows_every_surrogate() -> None:
    assert tuple(SURROGATES) == IN_CPP


@pytest.mark.parametrize(("cls", "options"), NEURONS)
@settings(deadline=None, max_examples=40)
@given(
    surrogate=st.sampled_from(list(SURROGATES)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    steps=st.integers(1, 6),
    size=st.integers(2, 20),
    seed=st.integers(0, 99),
    layout=st.sampled_from(["last", "first", "samples", "repeated"]),
)
def test_spikes_and_gradients(
    cls: Any, options: Any, surrogate: str, dtype: torch.dtype, steps: int, size: int, seed: int, layout: str
) -> None:
    neuron, learned = built(cls, options, surrogate, dtype)
    x = images(steps, dtype, seed, size)
    x[0, 0, 0, 0, 0] = float("inf") if surrogate == "gate" else 2.0
    x = {"last": x, "first": x.contiguous(), "samples": x[:, 1:], "repeated": x[:1].expand(steps, *x.shape[1:])}[
        layout
    ].requires_grad_()
    found = []
    for policy in ("never", "always"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCMRL_COMPILE", policy)
            spikes = neuron(x)
            found.append((spikes, gradients(spikes, x, *learned)))
    (expected, theirs), (spikes, ours) = found
    assert torch.equal(spikes, expected)
    agree(ours, theirs)


@pytest.mark.parametrize(("cls", "options"), NEURONS)
@settings(deadline=None, max_examples=40)
@given(
    surrogate=st.sampled_from(list(SURROGATES)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    steps=st.integers(1, 6),
    size=st.integers(3, 12),
    repeated=st.booleans(),
    window=st.sampled_from([(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 3, 0)]),
)
def test_pooled_spikes_and_their_gradients(
    cls: Any, options: Any, surrogate: str, dtype: torch.dtype, steps: int, size: int, repeated: bool, window: Any
) -> None:
    """Also where no unit of a window fires: torch's pooling then has the gradient of the first."""
    neuron, learned = built(cls, options, surrogate, dtype)
    pool = nn.MaxPool2d(*window)
    x = images(1 if repeated else steps, dtype, steps, size).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCMRL_COMPILE", "never")
        assert neuron.pooled(x, pool, steps) is None
        expected = pool(neuron(x.expand(steps, *x.shape[1:])).flatten(0, 1)).unflatten(0, (steps, -1))
        theirs = gradients(expected, x, *learned)
        patch.setenv("SCMRL_COMPILE", "always")
        maps = neuron.pooled(x, pool, steps)
        assert torch.equal(maps, expected)
        assert maps[0].is_contiguous(memory_format=torch.channels_last)
        agree(gradients(maps, x, *learned), theirs)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    neuron, learned = built(PLIF, {"tau": 3.0}, "sigmoid", torch.float32)
    x, pool = images(4, torch.float32, 0, 24).requires_grad_(), nn.MaxPool2d(3, 2, 1)
    found, threads = [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        maps, spikes = neuron.pooled(x, pool, 4), neuron(x)
        found.append([maps, spikes, *gradients(maps, x, *learned), *gradients(spikes, x, *learned)])
    torch.set_num_threads(threads)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_gradient_of_a_gradient_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the ways to compute the first is known to autograd; it must not be taken for a constant."""
    neuron, _ = built(LIF, {"tau": 2.0}, "sigmoid", torch.float64)
    for policy in ("never", "always"):
        monkeypatch.setenv("SCMRL_COMPILE", policy)
        x = images(3, torch.float64, 0).requires_grad_()
        (first,) = torch.autograd.grad(neuron(x).square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiated"):
            torch.autograd.grad(first.sum(), x)


@pytest.mark.parametrize("cls", [ALIF, Ternary])
def test_a_neuron_with_another_equation_does_not_inherit_it(cls: Any) -> None:
    assert cls(cls.Config()).dynamics.kernel is None
    assert LIF(LIF.Config()).dynamics.kernel == Kernel("divide", "sigmoid", tie=True, alpha=4.0)
