"""The filter bank and its spiking units, against loops in numpy.

Spikes in float64 and copies are compared to the bit, what drives them within a tolerance.
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

from scmrl_plugins.core.config.layers import validate
from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.core.model.assembly import assemble_model
from scmrl_plugins.plugins.datasets.media.audio import log_spectrogram
from scmrl_plugins.plugins.datasets.media.mel import band_edges, log_mel
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.plugins.encoders.cochlea import Cochlea, erb_number, filter_bank

pytestmark = pytest.mark.numerical

RATE = 8000


def cochlea(steps: int = 6, rows: int = 28, modality: Any = "audio", **config: Any) -> Cochlea:
    context = Context(steps, 8, 1, rows, 2, {"audio": 1, "visual": 1}, torch.nn.Identity, modality)
    return Cochlea(Cochlea.Config(**{"scale": "linear", **config}), context)


def triangles(filters: int, rows: int, rate: float) -> np.ndarray:
    """Each weight from its two slopes, in Hz: the inverse of the scale gives centres and edges."""
    top = 21.4 * math.log10(1 + 0.00437 * rate / 2)
    weights = np.zeros((filters, rows))
    for k in range(filters):
        left, centre, right = ((k + shift) * top / filters for shift in (-0.5, 0.5, 1.5))
        for i in range(rows):
            e = 21.4 * math.log10(1 + 0.00437 * (i + 0.5) / rows * rate / 2)
            if left < e <= centre:
                weights[k, i] = (e - left) / (centre - left)
            elif centre < e < right:
                weights[k, i] = (right - e) / (right - centre)
        if weights[k].sum() > 0:
            weights[k] /= weights[k].sum()
    return weights


def by_hand(x: np.ndarray, steps: int, filters: int, tau: float, axis: str) -> np.ndarray:
    """``[H, W] -> [T, H, W]``."""
    rows, width = x.shape
    bank = triangles(filters, rows, RATE)
    owner = [int(bank[:, i].argmax()) for i in range(rows)]
    used = sorted(set(owner))
    level = np.array([[bank[k] @ x[:, w] for w in range(width)] for k in used])
    above = np.maximum(level - level.mean(), 0)
    drive = above / max(above.max(), 1e-4 * np.abs(level).max())
    out = np.zeros((steps, rows, width))
    for i in range(rows):
        row = used.index(owner[i])
        v = 0.0
        for w in range(width):
            if axis == "steps":
                v = 0.0
            for t in range(steps) if axis == "steps" else [w * steps // width]:
                v = (1 - 1 / tau) * v + drive[row, w]
                if v >= 1:
                    out[t, i, w], v = 1, v - 1
    return out


@settings(max_examples=40, deadline=None)
@given(filters=st.integers(1, 64), rows=st.integers(4, 64), rate=st.sampled_from([2000, 8000, 44100]))
def test_the_filters_are_triangles_that_reach_every_row(filters: int, rows: int, rate: int) -> None:
    bank = filter_bank(filters, rows, rate)
    np.testing.assert_allclose(bank, triangles(filters, rows, rate), atol=1e-9)
    sums = bank.sum(1)
    assert np.all(np.isclose(sums, 1) | (sums == 0))
    assert (bank.max(0) > 0).all()


def test_the_scale_is_that_of_the_ear() -> None:
    """One at 1 kHz is 132.6 Hz wide by Glasberg and Moore's bandwidth 24.7 (0.00437 f + 1)."""
    assert erb_number(0) == 0
    width = 24.7 * (4.37 + 1)
    assert erb_number(1000 + width / 2) - erb_number(1000 - width / 2) == pytest.approx(1, abs=0.01)
    # Bands get wider with frequency, in rows as in Hz; the last is cut off at half the rate.
    rows = (filter_bank(16, 256, RATE) > 0).sum(1)
    assert (np.diff(rows)[:-1] >= 0).all()


@pytest.mark.parametrize("axis", ["steps", "width"])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    filters=st.integers(1, 40),
    steps=st.integers(1, 6),
    tau=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_spikes_are_those_of_the_loop(axis: str, seed: int, filters: int, steps: int, tau: float) -> None:
    x = np.random.default_rng(seed).normal(-6, 3, (12, 9))
    code = cochlea(steps, 12, filters=filters, tau=tau, axis=axis).double()
    # In double from the start, as the loop.
    bank = filter_bank(filters, 12, RATE)
    code.filters = torch.from_numpy(bank[np.unique(bank.argmax(0))])
    out = code(torch.from_numpy(x).view(1, 1, 12, 9))
    np.testing.assert_array_equal(out[:, 0, 0].numpy(), by_hand(x, steps, filters, tau, axis))


@pytest.mark.parametrize("axis", ["steps", "width"])
@pytest.mark.parametrize("filters", [8, 16, 32])
def test_a_tone_in_one_row_fires_its_band_above_all_others(filters: int, axis: str) -> None:
    bank = filter_bank(filters, 28, RATE)
    owner = bank.argmax(0)
    code = cochlea(24, filters=filters, axis=axis)
    for row in range(28):
        x = torch.full((1, 1, 28, 28), -16.0)
        x[:, :, row] = 3.0
        fired = code(x).sum((0, 1, 2, 4))
        own = owner == owner[row]
        assert (fired[own] == fired[own][0]).all()
        assert fired[own][0] == fired.max() > 0
        assert all(fired[~own] < fired[own][0])


@pytest.mark.parametrize("hertz", [300.0, 700.0, 1500.0, 3000.0])
def test_a_sound_of_one_frequency_fires_the_rows_that_hold_it(hertz: float) -> None:
    """From samples, through the data sets' own spectrogram."""
    samples = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
    x = torch.from_numpy(resize(log_spectrogram(samples, 256, 80), 28)).view(1, 1, 28, 28)
    code = cochlea(24)
    fired = code(x).sum((0, 1, 2, 4))
    row = int((hertz / RATE * 256 + 0.5) / 129 * 28)  # of the bin's centre among 129
    assert fired[row] == fired.max() > 0
    assert fired.argmax() <= row <= 27 - fired.flip(0).argmax()
    assert fired.sum() < 28 * fired.max() / 2


@pytest.mark.parametrize("hertz", [300.0, 700.0, 1500.0, 3000.0])
def test_rows_on_the_mel_scale_are_those_of_the_log_mel_spectrogram(hertz: float) -> None:
    samples = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
    x = torch.from_numpy(log_mel(samples, RATE, 28, 0.0, RATE / 2, 25.0, 10.0)).view(1, 1, 28, -1)
    fired = cochlea(24, scale="mel")(x).sum((0, 1, 2, 4))
    row = int(np.abs(band_edges(28, 0.0, RATE / 2)[1:-1] - hertz).argmin())
    assert abs(int(fired.argmax()) - row) <= 1  # a band of the ear may be between two rows
    assert fired.sum() < 28 * fired.max() / 2


def test_the_scale_of_rows_moves_their_frequencies() -> None:
    """Between rows 13 and 14 of 28 is half of 4,000 Hz, or half of its mels, 1,114 Hz."""
    middle = [erb_number(hertz) * 64 / erb_number(RATE / 2) for hertz in (RATE / 4, 1114.0)]
    for scale, band in zip(("linear", "mel"), middle, strict=True):
        owners = filter_bank(64, 28, RATE, scale).argmax(0)
        assert owners[13] <= band <= owners[14] + 1


def test_louder_fires_more_and_the_largest_at_every_step() -> None:
    x = torch.full((1, 1, 28, 28), -16.0)
    x[0, 0, 20, :] = torch.linspace(-16, 3, 28)
    out = cochlea(12)(x)[:, 0, 0, 20]
    counts = out.sum(0)
    assert (counts.diff() >= 0).all()
    assert counts[-1] == 12
    assert counts[0] == 0


@pytest.mark.parametrize("axis", ["steps", "width"])
@pytest.mark.parametrize("value", [0.0, -16.1, 1.0, 1e4])
def test_silence_and_other_constants_do_not_fire(axis: str, value: float) -> None:
    assert not cochlea(50, axis=axis)(torch.full((2, 1, 28, 28), value)).any()


def test_gain_does_not_matter() -> None:
    """A louder recording is a constant more, and another unit of the logarithm a factor."""
    x = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).double()
    code = cochlea().double()
    torch.testing.assert_close(code.drive(2 * x + 5), code.drive(x))


def test_the_same_under_mixed_precision() -> None:
    x = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 3 - 6
    code = cochlea()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = code(x)
    assert torch.equal(mixed, code(x))


def test_images_come_back_as_they_are() -> None:
    x = torch.rand(2, 3, 28, 28)
    code = cochlea(modality="visual")
    assert torch.equal(code(x), x.expand(6, *x.shape))
    assert code.tags == {"analogue"}
    assert cochlea().tags == set()


def test_events_pass() -> None:
    events = torch.randint(0, 2, (2, 6, 1, 28, 28)).float()
    assert torch.equal(cochlea()(events), events.transpose(0, 1))


@pytest.mark.parametrize("name", ["cochlea", "delta"])
def test_in_a_model_each_modality_has_its_own(name: str) -> None:
    sections = {
        "model": {"steps": 3, "embed_dims": 16, "num_heads": 2, "image_size": 16},
        "encoder": {"name": name, "axis": "width"},
        "neuron": {"name": "lif", "threshold": 0.3},
    }
    model, _ = assemble_model(validate(sections), ["a", "b"], {"audio": 1, "visual": 2})
    sound, image = torch.randn(2, 1, 16, 16), torch.rand(2, 2, 16, 16)
    model(sound, image)
    if name == "cochlea":
        assert torch.equal(model.encoders["visual"](image)[0], image)
    # One window after the other for sound; an image is there from the first step to the last.
    windows = model.encoders["audio"](sound).sum((1, 2, 3)).bool()
    assert (windows.sum(0) <= 1).all()
    assert windows.any()
    assert model.encoders["visual"](image)[-1].any()
    assert not any(key.startswith("encoders") for key in model.state_dict())


@pytest.mark.parametrize("wrong", [{"filters": 0}, {"tau": 0.5}, {"sample_rate": 10}, {"axis": "time"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Cochlea.Config(**wrong)
