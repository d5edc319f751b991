"""Spikes from change, against a loop over each pixel's signal.

Spikes and copies are compared to the bit; intensities are rescaled by powers of two, which is exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.encoders.base import windows
from scmrl_plugins.plugins.encoders.delta import Delta
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

THRESHOLDS = [0.125, 0.25, 0.5]
"""Powers of two, so that no level is missed by rounding."""

intensities = st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=1, max_size=12)


def delta(steps: int, modality: Any = "audio", **config: Any) -> Delta:
    context = Context(steps, 8, 1, 4, 2, {"audio": 1, "visual": 1}, torch.nn.Identity, modality)
    return Delta(Delta.Config(**{"rescale": False, **config}), context)


def pixels(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def by_hand(signal: list[float], threshold: float, start: float) -> list[int]:
    spikes, level = [], start
    for value in signal:
        spike = int(value - level >= threshold) - int(level - value >= threshold)
        level += spike * threshold
        spikes.append(spike)
    return spikes


@settings(max_examples=60, deadline=None)
@given(values=intensities, threshold=st.sampled_from(THRESHOLDS), steps=st.sampled_from([1, 2, 4, 8, 16]))
def test_a_ramp_spikes_at_every_level(values: list[float], threshold: float, steps: int) -> None:
    out = delta(steps, threshold=threshold)(pixels(values)).flatten(1)
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    for i, p in enumerate(values):
        assert out[:, i].tolist() == by_hand([p * (t + 1) / steps for t in range(steps)], threshold, 0.0)
        assert out[:, i].sum() == min(steps, math.floor(p / threshold))


@pytest.mark.parametrize("steps", [3, 5, 7, 10, 49, 100])
def test_of_as_many_steps_as_levels_the_largest_intensity_takes_all(steps: int) -> None:
    out = delta(steps, threshold=1 / steps)(torch.ones(1, 1, 2, 2))
    assert out.all()


@settings(max_examples=30, deadline=None)
@given(values=intensities, steps=st.integers(1, 12))
def test_the_brighter_the_more_and_the_earlier(values: list[float], steps: int) -> None:
    out = delta(steps)(pixels(sorted(values))).flatten(1)
    assert (out.sum(0).diff() >= 0).all()
    so_far = out.cumsum(0)
    assert (so_far.diff(dim=1) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    signal=st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=1, max_size=20),
    threshold=st.sampled_from(THRESHOLDS),
    steps=st.integers(1, 6),
    off=st.booleans(),
)
def test_along_the_width_it_follows_the_signal(
    signal: list[float], threshold: float, steps: int, off: bool
) -> None:
    out = delta(steps, threshold=threshold, axis="width", off_spikes=off)(pixels(signal))
    assert out.shape == (steps, 1, 1, 1, len(signal))
    expected = by_hand(signal, threshold, signal[0])
    assert out.sum(0).flatten().tolist() == [s if off else max(s, 0) for s in expected]
    shown = out.flatten(1).numpy().nonzero()
    assert all(t == column * steps // len(signal) for t, column in zip(*shown, strict=True))


def test_spikes_determine_a_slow_signal_to_one_threshold() -> None:
    signal = 0.5 + 0.4 * np.sin(np.linspace(0, 9, 200))
    out = delta(4, threshold=0.1, axis="width", off_spikes=True)(pixels(signal.tolist()))
    followed = signal[0] + 0.1 * np.cumsum(out.sum(0).flatten().numpy())
    assert np.abs(followed - signal).max() < 0.1 + 1e-9
    assert set(out.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_images_are_ramps_whatever_the_axis() -> None:
    x = torch.rand(2, 3, 4, 6)
    visual = delta(5, "visual", axis="width", off_spikes=True)
    assert torch.equal(visual(x), delta(5)(x))
    assert "analogue" not in visual.tags


def test_only_falls_make_it_analogue() -> None:
    assert delta(3, axis="width", off_spikes=True).tags == {"analogue"}
    for config in ({}, {"off_spikes": True}, {"axis": "width"}):
        assert delta(3, **config).tags == set()


@pytest.mark.parametrize("axis", ["steps", "width"])
def test_constant_samples_are_silent_and_each_is_rescaled_by_itself(axis: str) -> None:
    code = delta(4, axis=axis, rescale=True)
    assert not code(torch.full((2, 1, 3, 5), 4.2)).any()
    x = torch.rand(2, 1, 8, 8)
    x[:, :, 0, :2] = torch.tensor([0.0, 1.0])
    # Powers of two keep the intensities to the bit.
    assert torch.equal(code(torch.stack([4 * x[0], x[1] / 8])), code(x))


@pytest.mark.parametrize("axis", ["steps", "width"])
def test_events_pass_and_of_another_length_are_refused(axis: str) -> None:
    events = torch.randint(0, 2, (2, 5, 3, 4, 4)).float()
    assert torch.equal(delta(5, axis=axis)(events), events.transpose(0, 1))
    with pytest.raises(UserError, match=r"model\.steps = 5"):
        delta(4, axis=axis)(events)


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 9), width=st.integers(1, 12))
def test_windows_part_the_width(steps: int, width: int) -> None:
    out = windows(torch.ones(1, 1, 1, width), steps).view(steps, width)
    assert torch.equal(out.sum(0), torch.ones(width))
    sizes = out.sum(1)
    assert sizes.max() - sizes.min() <= 1
    assert (out.argmax(0).diff() >= 0).all()


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"axis": "height"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Delta.Config(**wrong)
