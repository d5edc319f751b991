"""Noise and occlusion of one sample, and modality dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from scmrl_plugins.core.config.sections import DataConfig
from scmrl_plugins.core.data.corruption import add_noise, corrupt_training_sample, is_grey, occlude
from scmrl_plugins.core.data.loading import collate, evaluation_loader, training_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.model.assembly import Assembly

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


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_occlusion_hides_one_rectangle_of_its_share(
    share: float, height: int, width: int, events: bool, seed: int
) -> None:
    x = torch.rand((4, 2, height, width) if events else (2, height, width)) + 1
    hidden = occlude(x, share, seeded(seed))
    covered = (hidden == x.amin()).flatten(0, -3).all(0)
    sides = (round(height * share**0.5), round(width * share**0.5))
    if min(sides) and height * width > 1:
        assert (covered.any(1).sum().item(), covered.any(0).sum().item()) == sides
        assert covered.sum() == sides[0] * sides[1]
    assert torch.equal(hidden[..., ~covered], x[..., ~covered])


def test_occlusion_reaches_every_position() -> None:
    x = torch.rand(1, 4, 4) + 1
    masks = {tuple((occlude(x, 0.25, seeded(seed)) != x).flatten().tolist()) for seed in range(200)}
    assert len(masks) >= 9


BLANK = {"audio": np.full((1, 1, 1), -16.0, np.float32), "visual": np.arange(2, dtype=np.float32)[:, None, None]}


def sample(seed: int = 0, steps: tuple[int, ...] = ()) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"audio": (1, 16, 16), "visual": (*steps, 2, 16, 16)}
    inputs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**inputs, "label": np.int64(3)}


def corrupted(config: DataConfig, count: int) -> list[dict[str, Any]]:
    generator, clean = seeded(), sample()
    return [corrupt_training_sample(clean, config, BLANK, generator) for _ in range(count)]


def dropped(name: str, x: np.ndarray) -> bool:
    return bool((x == BLANK[name]).all())


def ratio(noisy: np.ndarray, clean: np.ndarray) -> float:
    return float(10 * np.log10(clean.var() / (noisy - clean).var()))


def test_shares_and_ratios_are_those_of_the_configuration() -> None:
    config = DataConfig(noise={"audio": (-5, 15), "visual": (3, 3)}, noise_share=0.25)
    clean, count = sample(), 1200
    draws = corrupted(config, count)
    noisy = {name: [x[name] for x in draws if not np.array_equal(x[name], clean[name])] for name in BLANK}
    for found in noisy.values():
        assert len(found) / count == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / count) ** 0.5)
    both = sum(all(not np.array_equal(x[name], clean[name]) for name in BLANK) for x in draws)
    assert both / count == pytest.approx(0.0625, abs=5 * (0.0625 / count) ** 0.5)
    # 256 draws of noise: the standard deviation of an estimate is 0.4 dB.
    ratios = [ratio(x, clean["audio"]) for x in noisy["audio"]]
    assert -7 < min(ratios) < -3 < 13 < max(ratios) < 17
    assert np.mean(ratios) == pytest.approx(5, abs=5 * 20 / (12 * len(ratios)) ** 0.5)
    assert all(abs(ratio(x, clean["visual"]) - 3) < 2 for x in noisy["visual"])
    assert {int(x["label"]) for x in draws} == {3}


def test_a_sample_loses_one_modality_at_most() -> None:
    config = DataConfig(modality_dropout={"audio": 0.3, "visual": 0.2}, noise={"audio": (0, 0)}, noise_share=1)
    count = 1200
    lost = [{name for name in BLANK if dropped(name, x[name])} for x in corrupted(config, count)]
    assert max(map(len, lost)) == 1
    for name, share in config.modality_dropout.items():
        found = sum(name in names for names in lost) / count
        assert found == pytest.approx(share, abs=5 * (share * (1 - share) / count) ** 0.5)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(-20, 20), st.integers(0, 99), st.booleans())
def test_one_of_two_is_always_left(audio: float, share: float, snr: float, seed: int, events: bool) -> None:
    config = DataConfig(
        modality_dropout={"audio": audio, "visual": 1 - audio}, noise={"visual": (snr, snr + 1)}, noise_share=share
    )
    clean = sample(seed, (3,) if events else ())
    result = corrupt_training_sample(clean, config, BLANK, seeded(seed))
    assert dropped("audio", result["audio"]) != dropped("visual", result["visual"])
    assert {name: (x.shape, x.dtype) for name, x in result.items()} == {
        name: (x.shape, x.dtype) for name, x in clean.items()
    }
    assert np.array_equal(clean["visual"], sample(seed, (3,) if events else ())["visual"])


def test_a_data_set_of_one_modality_may_lose_it() -> None:
    config = DataConfig(modality_dropout={"audio": 1.0})
    only = {"audio": sample()["audio"]}
    assert dropped("audio", corrupt_training_sample(only, config, BLANK, seeded())["audio"])


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"noise": {"audio": [15, -5]}}, r"the smaller limit comes first, as in \[-5, 15\]"),
        ({"noise": {"audio": [float("nan"), 5]}}, "finite"),
        ({"noise": {"sound": [0, 5]}}, "'audio' or 'visual'"),
        ({"noise": {"audio": [5]}}, "Field required"),
        ({"noise_share": 1.5}, "less than or equal to 1"),
        ({"noise_share": float("nan")}, "finite"),
        ({"modality_dropout": {"audio": -0.1}}, "greater than or equal to 0"),
        ({"modality_dropout": {"audio": 0.6, "visual": 0.5}}, r"at most, but the probabilities add up to 1\.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DataConfig(**section)


SETS = ["data.noise.audio=[-5, 15]", "data.noise.visual=[0, 0]", "data.modality_dropout.visual=0.3"]


@pytest.mark.slow
def test_draws_follow_from_seed_epoch_and_sample(small: Callable[..., Assembly]) -> None:
    def drawn(epoch: int, *sets: str) -> dict[str, Tensor]:
        parts = small(sets=[*SETS, *sets])
        loader, sampler = training_loader([load_splits(parts.dataset, parts.config)["train"]], parts.config)
        sampler.epoch = epoch
        rows = {name: torch.cat(columns) for name, columns in zip_columns(list(loader)).items()}
        order = torch.tensor(sampler.order()).argsort()
        return {name: column[order] for name, column in rows.items()}

    first = drawn(1)
    for other in (drawn(1), drawn(1, "train.batch_size=5")):
        assert all(torch.equal(first[name], other[name]) for name in first)
    for other in (drawn(2), drawn(1, "train.seed=7")):
        assert not torch.equal(first["audio"], other["audio"])
        assert not torch.equal(first["visual"], other["visual"])


def zip_columns(batches: list[dict[str, Tensor]]) -> dict[str, list[Tensor]]:
    return {name: [batch[name] for batch in batches] for name in batches[0]}


def test_evaluation_has_clean_inputs(small: Callable[..., Assembly]) -> None:
    parts = small(sets=[*SETS, "data.noise_share=1"])
    split = load_splits(parts.dataset, parts.config)["validation"]
    rows = zip_columns(list(evaluation_loader(split, parts.config)))
    clean = collate([split[i] for i in range(len(split))])
    assert all(torch.equal(torch.cat(rows[name]), clean[name]) for name in clean)
