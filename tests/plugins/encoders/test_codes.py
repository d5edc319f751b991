"""Encoders: their codes, and BrainCog's own where it has one that runs.

Spikes, copies, draws under one seed and powers of two are compared to the bit, other codes within a tolerance.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.braincog.upstream import surrogate  # noqa: F401  the file below imports it
from scmrl_plugins.plugins.encoders.codes import Direct, Phase, Rate, TimeToFirstSpike
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

ENCODERS = [Direct, Rate, Phase, TimeToFirstSpike]


def encoder(cls: Any, steps: int, **config: Any) -> Any:
    context = Context(steps, 8, 1, 4, 2, {"audio": 1, "visual": 1}, neuron=torch.nn.Identity)
    return cls(cls.Config(**config), context)


def pixels(values: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype).view(1, 1, 1, -1)


@pytest.fixture(scope="module")
def braincog() -> ModuleType:
    """BrainCog's encoders, by the path of their file: importing the package takes ten seconds."""
    found = importlib.util.find_spec("braincog")
    path = Path(found.submodule_search_locations[0]) / "base" / "encoder" / "encoder.py"
    spec = importlib.util.spec_from_file_location("braincogs_encoder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def theirs(module: ModuleType, steps: int, code: str, x: Tensor) -> Tensor:
    made = module.Encoder(steps, code)
    made.device = x.device  # BrainCog reads it and sets it nowhere
    return made(x)


@pytest.mark.parametrize("cls", ENCODERS)
def test_events_pass_through_with_time_first(cls: Any) -> None:
    x = torch.randn(2, 5, 3, 4, 4)
    out = encoder(cls, 5)(x)
    assert torch.equal(out, x.permute(1, 0, 2, 3, 4))


@pytest.mark.parametrize("cls", ENCODERS)
def test_events_of_another_length_and_other_ranks_are_refused(cls: Any) -> None:
    with pytest.raises(UserError, match=r"model\.steps = 3"):
        encoder(cls, 5)(torch.zeros(2, 3, 1, 4, 4))
    with pytest.raises(UserError, match=r"\[2, 4, 4\]"):
        encoder(cls, 5)(torch.zeros(2, 4, 4))


@pytest.mark.parametrize("cls", ENCODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_static_inputs_become_sequences_of_the_same_type(cls: Any, dtype: torch.dtype) -> None:
    out = encoder(cls, 6)(torch.rand(2, 3, 4, 5, dtype=dtype))
    assert out.shape == (6, 2, 3, 4, 5)
    assert out.dtype == dtype


def test_direct_repeats_without_a_copy() -> None:
    x = torch.randn(2, 3, 4, 4)
    out = encoder(Direct, 7)(x)
    assert torch.equal(out, torch.stack([x] * 7))
    assert out.data_ptr() == x.data_ptr()
    assert out.stride(0) == 0


def test_rate_tends_to_the_intensity() -> None:
    p = torch.linspace(0, 1, 21)
    torch.manual_seed(0)
    out = encoder(Rate, 1000, rescale=False)(p.view(1, 1, 1, -1).expand(4, 1, 1, 21))
    assert set(out.unique().tolist()) == {0.0, 1.0}
    # Four thousand draws: five standard deviations are 5 sqrt(p (1 - p) / 4000), at most 0.04.
    assert (out.mean((0, 1)).flatten() - p).abs().max() < 0.04
    assert out[..., 0].sum() == 0
    # Steps are independent: two of them agree in 1 - 2 p (1 - p) of all places.
    agree = (out[:-1] == out[1:]).float().mean((0, 1)).flatten()
    assert (agree - (1 - 2 * p * (1 - p))).abs().max() < 0.05


def test_rate_follows_from_the_seed() -> None:
    x, code = torch.rand(2, 1, 8, 8), encoder(Rate, 4)
    torch.manual_seed(5)
    first = code(x)
    torch.manual_seed(5)
    assert torch.equal(code(x), first)
    assert not torch.equal(code(x), first)


def test_rate_agrees_with_braincog(braincog: ModuleType) -> None:
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(11)
    ours = encoder(Rate, 5, rescale=False)(x)
    torch.manual_seed(11)
    assert torch.equal(ours, theirs(braincog, 5, "rate", x))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_phase_sums_to_the_eight_digits(values: list[float]) -> None:
    out = encoder(Phase, 8, rescale=False)(pixels(values, torch.float64))
    expected = [2 * min(255, math.floor(256 * p)) / 256 for p in values]
    assert out.sum(0).flatten().tolist() == expected
    assert set(out.unique().tolist()) <= {0.0, *(2.0**-t for t in range(8))}


def test_phase_repeats_after_eight_steps() -> None:
    x = torch.rand(2, 1, 4, 4)
    out = encoder(Phase, 19)(x)
    assert torch.equal(out[8:16], out[:8])
    assert torch.equal(out[16:], out[:3])


@pytest.mark.parametrize("steps", [1, 4, 8, 11])
def test_phase_agrees_with_braincog(braincog: ModuleType, steps: int) -> None:
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0)).clamp_max(0.999)
    assert torch.equal(encoder(Phase, steps, rescale=False)(x), theirs(braincog, steps, "phase", x))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_ttfs_fires_once_and_the_larger_the_earlier(steps: int, values: list[float]) -> None:
    out = encoder(TimeToFirstSpike, steps, rescale=False)(pixels(values, torch.float64)).flatten(1)
    assert out.sum(0).tolist() == [float(p > 0) for p in values]
    times = {p: int(out[:, i].argmax()) for i, p in enumerate(values) if p > 0}
    in_order = [times[p] for p in sorted(times, reverse=True)]
    assert in_order == sorted(in_order)
    assert all(time == 0 for p, time in times.items() if p == 1)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_weighted_ttfs_agrees_with_braincog(braincog: ModuleType, steps: int) -> None:
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, :3] = torch.tensor([0.0, 0.5, 1.0])
    ours = encoder(TimeToFirstSpike, steps, rescale=False, weighted=True)(x)
    torch.testing.assert_close(ours, theirs(braincog, steps, "ttfs", x), atol=0, rtol=1e-6)
    plain = encoder(TimeToFirstSpike, steps, rescale=False)(x)
    assert torch.equal(plain, (ours > 0).float())


@pytest.mark.parametrize("cls", [Rate, Phase, TimeToFirstSpike])
def test_each_sample_is_rescaled_by_itself(cls: Any) -> None:
    x = torch.rand(2, 1, 4, 4)
    x[0, 0, 0, :2], x[1, 0, 0, :2] = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])
    stretched = torch.stack([x[0] * 30 - 7, x[1] * 0.01 + 5])
    code = encoder(cls, 8)
    torch.testing.assert_close(code.intensity(stretched), x, atol=1e-4, rtol=0)
    assert torch.equal(code.intensity(x), x)


@pytest.mark.parametrize("cls", [Rate, Phase, TimeToFirstSpike])
def test_a_constant_sample_is_silent(cls: Any) -> None:
    assert torch.count_nonzero(encoder(cls, 8)(torch.full((2, 1, 3, 3), 4.2))) == 0


@pytest.mark.parametrize("cls", [Rate, Phase, TimeToFirstSpike])
def test_without_rescaling_the_intensity_is_clamped(cls: Any) -> None:
    code = encoder(cls, 8, rescale=False)
    assert code.intensity(pixels([-1.0, 0.25, 7.0])).flatten().tolist() == [0.0, 0.25, 1.0]
