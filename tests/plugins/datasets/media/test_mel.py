from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.plugins.datasets.media import audio, mel
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.registry import UserError


def spectrogram(samples: np.ndarray, rate: int = 16_000, bands: int = 32, **settings: float) -> np.ndarray:
    values = {"lowest": 20.0, "highest": rate / 2, "window_ms": 25.0, "hop_ms": 10.0, **settings}
    return mel.log_mel(samples, rate, bands, **values)


@pytest.mark.parametrize(("rate", "bands"), [(8000, 16), (16_000, 32), (22_050, 64)])
def test_a_tone_at_the_centre_of_a_band_is_its_mean_square(rate: int, bands: int) -> None:
    centres = mel.band_edges(bands, 20.0, rate / 2)[1:-1]
    for band in range(bands // 2, bands):  # wider than the window's resolution
        rows = np.exp(spectrogram(tone(centres[band], rate, 0.5), rate, bands)[:, 10:-10])
        assert (rows.argmax(0) == band).all()
        # The window spreads the tone, which loses some of it in a triangle.
        np.testing.assert_allclose(rows[band], 0.125, rtol=0.35)
        np.testing.assert_allclose(rows.sum(0), 0.125, rtol=0.05)


@settings(max_examples=30, deadline=None)
@given(
    rate=st.integers(4000, 48_000),
    bands=st.integers(4, 96),
    lowest=st.floats(0, 500),
    share=st.floats(0.3, 1),
    window=st.floats(5, 60),
)
def test_no_band_is_empty_and_neighbours_add_up_to_one(
    rate: int, bands: int, lowest: float, share: float, window: float
) -> None:
    highest = lowest + share * (rate / 2 - lowest)
    length = mel.transform_length(rate, round(rate * window / 1000), bands, lowest, highest)
    bank = mel.filter_bank(rate, length, bands, lowest, highest)
    assert bank.shape == (bands, length // 2 + 1)
    assert (bank.max(1) >= 0.5).all()
    frequencies = np.arange(length // 2 + 1) * rate / length
    edges = mel.band_edges(bands, lowest, highest)
    inner = (frequencies >= edges[1]) & (frequencies <= edges[-2])
    np.testing.assert_allclose(bank[:, inner].sum(0), 1, atol=1e-9)
    outside = (frequencies < lowest - 1e-6) | (frequencies > highest + 1e-6)
    assert not bank[:, outside].any()


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 4000),
    hop=st.floats(1, 25),
    seed=st.integers(0, 99),
    gain=st.sampled_from([0.0, 1e-4, 0.5]),
)
def test_every_recording_has_a_finite_spectrogram(length: int, hop: float, seed: int, gain: float) -> None:
    samples = gain * np.random.default_rng(seed).standard_normal(length)
    rows = spectrogram(samples, hop_ms=hop)
    assert rows.shape == (32, 1 + length // round(16 * hop))
    assert np.isfinite(rows).all()
    if not gain:
        np.testing.assert_allclose(rows, np.log(1e-10))


def test_the_power_of_noise_does_not_depend_on_rate_window_or_hop() -> None:
    noise = np.random.default_rng(0).standard_normal(32_000)
    for settings_ in ({}, {"window_ms": 50.0}, {"hop_ms": 5.0}):
        power = np.exp(spectrogram(noise, lowest=0.0, **settings_)).mean(1)
        edges = mel.band_edges(32, 0.0, 8000.0)
        # A triangle holds half of the width between its edges, and white noise of variance 1 has 1 / 8000 per Hz.
        np.testing.assert_allclose(power, (edges[2:] - edges[:-2]) / 2 / 8000, rtol=0.2)


def test_it_is_the_formula_frame_by_frame() -> None:
    samples = np.random.default_rng(1).standard_normal(900)
    ours = spectrogram(samples, 8000, 12, window_ms=20.0, hop_ms=8.0)
    bank = mel.filter_bank(8000, 256, 12, 20.0, 4000.0)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(160) / 160)
    padded = np.concatenate([np.zeros(80), samples, np.zeros(160)])
    for frame in range(ours.shape[1]):
        part = padded[frame * 64 : frame * 64 + 160] * window
        turns = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(160)) / 256)
        power = 2 * np.abs(turns @ part) ** 2 / (256 * (window**2).sum())
        np.testing.assert_allclose(ours[:, frame], np.log(bank @ power + 1e-10), atol=1e-9)


def test_mel_and_hertz_are_inverse() -> None:
    assert mel.mel(0) == 0
    np.testing.assert_allclose(mel.mel(1000), 1000, rtol=1e-4)
    np.testing.assert_allclose(
        mel.hertz(mel.mel(np.arange(0, 20_000, 97.0))), np.arange(0, 20_000, 97.0), atol=1e-8
    )


def test_bands_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.bands = 500: between 100 and 400 Hz .* lower dataset\.bands"):
        spectrogram(tone(), bands=500, lowest=100.0, highest=400.0)


def test_a_long_recording_is_transformed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).standard_normal(16_000)
    at_once, logarithms = spectrogram(samples), audio.log_spectrogram(samples, 256, 80)
    monkeypatch.setattr(mel, "BLOCK", 7)
    np.testing.assert_allclose(spectrogram(samples), at_once, rtol=1e-10)
    np.testing.assert_allclose(audio.log_spectrogram(samples, 256, 80), logarithms, rtol=1e-10)
