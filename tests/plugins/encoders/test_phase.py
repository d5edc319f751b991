"""Binary digits of the intensity, and BrainCog's.

Powers of two are compared to the bit.
"""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from encoding import encoder, pixels, theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.plugins.encoders.phase import Phase

pytestmark = pytest.mark.numerical


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
