"""Corruptions of inputs: noise, occlusion, a dropped modality."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.core.evaluation.disturbance import CORRUPTIONS, Disturbance, add_noise, occlude


@pytest.mark.parametrize("snr", [-10.0, 0.0, 5.0, 20.0])
def test_noise_has_the_requested_ratio(snr: float) -> None:
    x = torch.randn(3, 2, 80, 80, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1, 1) + 5
    noise = add_noise(x, snr, torch.Generator().manual_seed(1)) - x
    for sample in range(3):
        ratio = 10 * torch.log10(x[sample].var() / noise[sample].var())
        # 12,800 draws: the standard deviation of the estimate is 4.34 sqrt(2 / 12800) = 0.05 dB.
        assert ratio.item() == pytest.approx(snr, abs=0.3)
        assert abs(noise[sample].mean()) < 5 * noise[sample].std() / 12800**0.5
        # Gaussian: 95.4 % within two standard deviations.
        assert (noise[sample].abs() < 2 * noise[sample].std()).float().mean().item() == pytest.approx(
            0.954, abs=0.01
        )


def test_noise_follows_from_the_generator() -> None:
    x = torch.randn(2, 1, 8, 8)
    first, same, other = (add_noise(x, 3.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_noise_affects_the_requested_modalities() -> None:
    batch = {"audio": torch.randn(2, 1, 4, 4), "visual": torch.randn(2, 1, 4, 4), "label": torch.zeros(2)}
    given_inputs = Disturbance(noise={"visual": 0.0})(batch, torch.Generator())
    assert given_inputs.keys() == {"audio", "visual"}
    assert given_inputs["audio"] is batch["audio"]
    assert not torch.equal(given_inputs["visual"], batch["visual"])
    assert Disturbance()(batch, torch.Generator())["visual"] is batch["visual"]


def test_a_dropped_modality_is_zero_and_the_other_as_it_was() -> None:
    batch = {"audio": torch.randn(2, 1, 4, 4), "visual": torch.randn(2, 1, 4, 4)}
    left = Disturbance(dropped=("audio",), noise={"audio": 0.0})(batch, torch.Generator())
    assert not left["audio"].any()
    assert left["visual"] is batch["visual"]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_occlusion_hides_one_square_of_its_share(share: float, height: int, width: int, events: bool) -> None:
    x = torch.rand((3, 4, 2, height, width) if events else (3, 2, height, width)) + 1
    hidden = occlude(x, share, torch.Generator().manual_seed(0))
    lowest = x.flatten(1).amin(1)
    for before, after, low in zip(x, hidden, lowest, strict=True):
        changed = (after == low).flatten(0, -3)
        covered = changed.all(0)
        rows, columns = covered.any(1).sum().item(), covered.any(0).sum().item()
        sides = (round(height * share**0.5), round(width * share**0.5))
        if min(sides) and height * width > 1:
            assert (rows, columns) == sides
            assert covered.sum() == rows * columns
        assert torch.equal(after[..., ~covered], before[..., ~covered])


def test_occlusion_follows_from_the_generator_and_differs_by_sample() -> None:
    x = torch.rand(16, 1, 8, 8)
    first, same, other = (occlude(x, 0.25, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len({tuple((row != plain).flatten().tolist()) for row, plain in zip(first, x, strict=True)}) > 4


def test_a_disturbance_describes_itself() -> None:
    disturbance = Disturbance(noise={"audio": -5.0}, occlusion={"visual": 0.25}, dropped=("audio",))
    assert str(disturbance) == "audio at -5 dB, 25% of visual hidden, no audio"
    assert str(Disturbance()) == ""


def test_every_corruption_is_a_field() -> None:
    assert Disturbance.model_fields.keys() == CORRUPTIONS.keys()
