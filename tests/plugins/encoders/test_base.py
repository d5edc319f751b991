"""What all encoders of static inputs share: events, shapes and types, and the scale of intensities.

Copies and spikes are compared to the bit, scaled intensities within a tolerance.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from encoding import encoder, pixels

from scmrl_plugins.plugins.encoders.direct import Direct
from scmrl_plugins.plugins.encoders.phase import Phase
from scmrl_plugins.plugins.encoders.rate import Rate
from scmrl_plugins.plugins.encoders.ttfs import TimeToFirstSpike
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

ENCODERS = [Direct, Rate, Phase, TimeToFirstSpike]


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
