"""Bernoulli spikes: their mean, their seed, and BrainCog's.

Draws under one seed are compared to the bit.
"""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from encoding import encoder, theirs

from scmrl_plugins.plugins.encoders.rate import Rate

pytestmark = pytest.mark.numerical


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
