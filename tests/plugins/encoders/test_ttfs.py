"""One spike a pixel, and BrainCog's weighted form.

Spikes are compared to the bit, their weights within a tolerance.
"""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from encoding import encoder, pixels, theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.plugins.encoders.ttfs import TimeToFirstSpike

pytestmark = pytest.mark.numerical


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
