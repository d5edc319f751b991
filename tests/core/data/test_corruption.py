"""Noise on one sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scmrl_plugins.core.data.corruption import add_noise, is_grey

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey_picture(size: int) -> Tensor:
    levels = torch.randint(256, (1, size, size), generator=seeded())
    return (levels.expand(3, -1, -1) / 255 - MEAN) / DEVIATION


@pytest.mark.parametrize("snr", [-10.0, 0.0, 20.0])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_noise_has_the_requested_ratio(snr: float, scale: float) -> None:
    x = scale * torch.randn(2, 80, 80, generator=seeded()) + 5
    noise = add_noise(x, snr, seeded(1)) - x
    # 12,800 draws: the standard deviation of the estimate is 4.34 sqrt(2 / 12800) = 0.05 dB.
    assert 10 * torch.log10(x.var() / noise.var()).item() == pytest.approx(snr, abs=0.3)
    assert abs(noise.mean()) < 5 * noise.std() / 12800**0.5
    # Gaussian: 95.4 % within two standard deviations.
    assert (noise.abs() < 2 * noise.std()).float().mean().item() == pytest.approx(0.954, abs=0.01)


def test_a_grey_picture_stays_grey_under_noise() -> None:
    x = grey_picture(40)
    noise = add_noise(x, 0.0, seeded()) - x
    torch.testing.assert_close(noise[1:], noise[:1].expand(2, -1, -1), atol=1e-5, rtol=0)
    assert 10 * torch.log10(x.var() / noise.var()).item() == pytest.approx(0, abs=0.5)


def test_other_channels_get_noise_of_their_own() -> None:
    for x in (torch.randn(3, 2, 8, 8, generator=seeded()), torch.randn(3, 8, 8, generator=seeded())):
        noise = add_noise(x, 0.0, seeded(1)) - x
        assert len({tuple(channel.flatten().tolist()) for channel in noise.movedim(-3, 0)}) == x.shape[-3]


def test_grey_is_told_from_colour() -> None:
    grey = grey_picture(16)
    assert is_grey(grey)
    assert is_grey(grey.expand(4, -1, -1, -1))
    colour = grey.clone()
    colour[0, 3, 4] += 0.1
    assert not is_grey(colour)
    assert not is_grey(torch.zeros(3, 8, 8))
    assert not is_grey(torch.randn(1, 8, 8, generator=seeded()))
