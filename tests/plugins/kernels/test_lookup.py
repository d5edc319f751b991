"""Convolutions of spikes by looking up sums: what they compute and for what, with how many threads.

Comparisons to the bit are of one computation made again: a sum has the same order with any number of threads.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from compiler import needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from scmrl_plugins.plugins.kernels import compiled, library, lookup
from scmrl_plugins.plugins.layers import spiking_conv

pytestmark = [needs_compiler, pytest.mark.numerical]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def spikes(*shape: int, rate: float = 0.3, dtype: torch.dtype = torch.float64) -> Tensor:
    """``[B, C, H, W]``, the channels of a pixel side by side."""
    batch, channels, height, width = shape
    drawn = torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(sum(shape)))
    return (drawn < rate).to(dtype).permute(0, 3, 1, 2)


def weights(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def gradients(y: Tensor, *of: Tensor) -> list[Tensor]:
    along = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad(y, of, along))


sizes = st.integers(1, 9)
channels = st.sampled_from([1, 3, 16, 17, 31, 32, 33, 70])


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), channels, sizes, sizes),
    out=channels,
    kernel=st.sampled_from([1, 3, 5]),
    rate=st.sampled_from([0.0, 0.2, 1.0]),
    bias=st.booleans(),
)
def test_it_is_the_convolution_and_its_gradients(
    shape: tuple[int, int, int, int], out: int, kernel: int, rate: float, bias: bool
) -> None:
    x = spikes(*shape, rate=rate).requires_grad_()
    weight = weights(out, shape[1], kernel, kernel).requires_grad_()
    b = weights(out).requires_grad_() if bias else None
    learned = [x, weight] if b is None else [x, weight, b]
    y = lookup.convolve(x, weight, b)
    assert y is not None
    expected = functional.conv2d(x, weight, b, padding=kernel // 2)
    torch.testing.assert_close(y, expected, atol=1e-11, rtol=0)
    for ours, theirs in zip(gradients(y, *learned), gradients(expected, *learned), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_float32_is_as_close_to_float64_as_a_convolution() -> None:
    x, weight = spikes(4, 64, 16, 16), weights(64, 64, 3, 3)
    exact = functional.conv2d(x, weight, padding=1)

    def error(y: Tensor | None) -> float:
        assert y is not None
        return (y.double() - exact).abs().max().item()

    ours = error(lookup.convolve(x.float(), weight.float(), None))
    assert ours <= 2 * error(functional.conv2d(x.float(), weight.float(), padding=1))


def test_many_rows_and_few_are_cut_into_strips() -> None:
    for shape in [(3, 32, 40, 64), (2, 32, 3, lookup.PIXELS), (1, 32, 2, 700)]:
        x, weight = spikes(*shape), weights(33, 32, 3, 3)
        y = lookup.convolve(x, weight, None)
        torch.testing.assert_close(y, functional.conv2d(x, weight, padding=1), atol=1e-11, rtol=0)
    assert lookup.convolve(spikes(1, 32, 1, lookup.PIXELS + 1), weights(32, 32, 3, 3), None) is None


def test_threads_change_no_bit() -> None:
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        x, weight = spikes(5, 40, 12, 12, dtype=torch.float32), weights(70, 40, 3, 3, dtype=torch.float32)
        y = lookup.convolve(x, weight.requires_grad_(), None)
        assert y is not None
        results.append([y, *gradients(y, weight)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("value", [2.0, 0.5, -1.0, 1 + 2**-52, float("nan"), float("inf"), 5e-324])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (1, 33, 4, 6)])
def test_one_value_that_is_no_spike_makes_it_a_convolution(value: float, place: tuple[int, ...]) -> None:
    x = spikes(2, 34, 5, 7)
    assert lookup.convolve(x, weights(32, 34, 3, 3), None) is not None
    x[place] = value
    assert lookup.convolve(x, weights(32, 34, 3, 3), None) is None


def test_minus_zero_is_zero() -> None:
    x, weight = spikes(1, 32, 4, 4), weights(32, 32, 3, 3)
    torch.testing.assert_close(lookup.convolve(-0.0 - x * 0 + x, weight, None), lookup.convolve(x, weight, None))


def test_where_it_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = spikes(2, 32, 64, 64, dtype=torch.float32), weights(32, 32, 3, 3, dtype=torch.float32)
    assert lookup.convolve(x.contiguous(), weight, None) is None
    assert lookup.convolve(x.bfloat16(), weight.bfloat16(), None) is None
    assert lookup.convolve(x, weight.double(), None) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lookup.convolve(x, weight, None) is None
    monkeypatch.setenv("SCMRL_COMPILE", "auto")
    large = spikes(4, 32, 64, 64, dtype=torch.float32)
    assert large.numel() >= compiled.ELEMENTS
    assert lookup.convolve(large, weight, None) is not None
    assert lookup.convolve(x, weight, None) is not None  # a kernel of several pixels pays earlier
    assert lookup.convolve(x, weight[..., :1, :1], None) is None
    assert lookup.convolve(x[:1, :, :32], weight, None) is None
    assert lookup.convolve(large, weight[:31], None) is None
    monkeypatch.setenv("SCMRL_COMPILE", "never")
    assert lookup.convolve(large, weight, None) is None


@pytest.mark.parametrize("kind", ["images", "tokens"])
def test_a_layer_takes_it_and_keeps_bits_only(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "images":
        layer: Any = spiking_conv.Conv3x3(32, 40)
        x = spikes(2, 32, 8, 8, dtype=torch.float32)
    else:
        layer = spiking_conv.Pointwise(32, 40, kernel_size=1)
        x = spikes(2, 32, 1, 64, dtype=torch.float32).squeeze(2)
    kept: list[Tensor] = []

    def keep(saved: Tensor) -> Tensor:
        kept.append(saved)
        return saved

    x.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        y = layer(x)
    beside = [saved.nbytes for saved in kept if saved.data_ptr() != layer.weight.data_ptr()]
    assert 0 < sum(beside) < x.nbytes / 8
    found = gradients(y, x, *layer.parameters())
    monkeypatch.setenv("SCMRL_COMPILE", "never")
    expected = layer(x)
    assert y.stride() == expected.stride()
    torch.testing.assert_close(y, expected)
    for ours, theirs in zip(found, gradients(expected, x, *layer.parameters()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_a_broken_compiler_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nand a long story")

    monkeypatch.setattr(compiled, "_warned", False)
    monkeypatch.setattr(library, "_compile", broken)
    monkeypatch.setattr(library.Path, "home", lambda: tmp_path)
    library.library.cache_clear()
    layer = spiking_conv.Conv3x3(32, 32)
    x = spikes(1, 32, 8, 8, dtype=torch.float32)
    with pytest.warns(UserWarning, match="without a compiled kernel, .* no C\\+\\+ compiler found$"):
        first = layer(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(layer(x), first)
    assert compiled.worth(x)  # neurons are compiled by other code
    library.library.cache_clear()
