from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scmrl_plugins.core.interfaces import BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.media import audio
from scmrl_plugins.plugins.datasets.media.front_end import FrontEnd, SoundConfig
from scmrl_plugins.plugins.datasets.media.mel import log_mel
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.registry import UserError

KINDS = ("log-mel", "log-stft")


def front_end(size: int = 28, **options: Any) -> FrontEnd:
    return FrontEnd(SoundConfig(**{"sample_rate": 16_000, **options}), size)


def noise(seed: int = 0, length: int = 8000) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(length)


def test_the_published_transform_is_as_it_was() -> None:
    published = front_end(64, sample_rate=22_050, front_end="log-stft", standardize="none")
    stored = published.spectrogram(noise(), 22_050, "a.wav")
    expected = resize(audio.log_spectrogram(noise(), 512, 353), 64)[None]
    np.testing.assert_array_equal(stored, expected)
    assert published.inputs(stored, True) is stored


@pytest.mark.parametrize(("size", "bands"), [(16, 16), (28, 28), (128, 64)])
def test_there_is_a_band_a_row_but_at_most_64(size: int, bands: int) -> None:
    stored = front_end(size).spectrogram(noise(), 16_000, "a.wav")
    expected = log_mel(noise(), 16_000, bands, 20.0, 8000.0, 25.0, 10.0)
    np.testing.assert_array_equal(stored, resize(expected, size)[None])


@given(kind=st.sampled_from(KINDS), gain=st.floats(-60, 0), seed=st.integers(0, 99), length=st.integers(400, 9000))
@settings(max_examples=20, deadline=None)
def test_a_recording_standardised_by_itself(kind: str, gain: float, seed: int, length: int) -> None:
    made = front_end(front_end=kind)
    stored = made.spectrogram(noise(seed, length) * 10 ** (gain / 20), 16_000, "a.wav")
    x = made.inputs(stored, False)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, (stored - stored.mean()) / (stored.std() + 1e-3), atol=1e-5)
    np.testing.assert_allclose([x.mean(), x.std()], [0, stored.std() / (stored.std() + 1e-3)], atol=1e-3)


def test_how_loud_a_recording_is_does_not_matter_where_it_is_standardised() -> None:
    made = front_end()
    loud, quiet = (made.inputs(made.spectrogram(noise() * gain, 16_000, "a.wav"), False) for gain in (1, 0.1))
    np.testing.assert_allclose(loud, quiet, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardize", ["recording", "none"])
def test_blank_is_what_silence_becomes(kind: str, standardize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = front_end(front_end=kind, standardize=standardize)
    monkeypatch.setattr(audio, "refuse_silence", lambda *_: None)
    silence = made.inputs(made.spectrogram(np.zeros(8000), 16_000, "a.wav"), False)
    np.testing.assert_allclose(np.broadcast_to(made.blank, silence.shape), silence, atol=1e-2)


def test_silence_is_refused() -> None:
    with pytest.raises(BadFileError, match=r"a\.wav: the sound file holds nothing but silence"):
        front_end().spectrogram(np.zeros(8000), 16_000, "a.wav")


def test_a_recording_of_a_lower_rate_says_what_it_lacks() -> None:
    low = tone(1000, 8000, 0.5)
    lacks = r"a\.wav: 8000 Hz, resampled to 16000 Hz, holds nothing above 4000 Hz, where features reach to 8000 Hz"
    with pytest.warns(RepairedFileWarning, match=lacks):
        from_low = front_end().spectrogram(low, 8000, "a.wav")
    direct = front_end().spectrogram(tone(1000, 16_000, 0.5), 16_000, "a.wav")
    assert from_low.argmax(1).shape == direct.argmax(1).shape
    np.testing.assert_array_equal(from_low[0, :, 14].argmax(), direct[0, :, 14].argmax())
    with pytest.warns(RepairedFileWarning) as caught:
        front_end(highest_hz=4000.0).spectrogram(low, 8000, "a.wav")
    assert str(caught[0].message) == "a.wav: 8000 Hz, resampled to 16000 Hz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        front_end(sample_rate=8000).spectrogram(low, 8000, "a.wav")


def test_frequencies_that_no_recording_holds_are_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.highest_hz = 9000: at 16000 Hz .* up to 8000 Hz; lower it"):
        front_end(highest_hz=9000.0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lowest_hz": 300.0, "highest_hz": 200.0}, "highest_hz 200 is not above lowest_hz 300"),
        ({"hop_ms": 30.0}, "hop_ms 30 is larger than window_ms 25"),
        ({"hop": 600}, "hop 600 is larger than n_fft 512"),
        ({"front_end": "mel"}, "log-mel"),
        ({"bands": 3}, "greater"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SoundConfig(**options)


def test_only_settings_that_matter_are_in_the_key() -> None:
    published = front_end(front_end="log-stft").key()
    sizes = {"sample_rate": 16_000, "image_size": 28, "longest_sound": 600.0}
    assert published == {"n_fft": 512, "hop": 353, **sizes}
    assert published == front_end(front_end="log-stft", window_ms=30.0, standardize="none", freq_mask=0.1).key()
    others = {"bands": 20, "lowest_hz": 50.0, "highest_hz": 7000.0, "window_ms": 30.0, "hop_ms": 8.0}
    others["longest_sound"] = 5.0
    for name, value in others.items():
        assert front_end(**{name: value}).key() != front_end().key()
    assert front_end(n_fft=1024, standardize="none", time_mask=0.2).key() == front_end().key()


@given(freq=st.floats(0, 0.9), time=st.floats(0, 0.9), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_masks_hide_a_band_and_a_stretch(freq: float, time: float, seed: int) -> None:
    made = front_end(freq_mask=freq, time_mask=time)
    stored = made.spectrogram(noise(seed), 16_000, "a.wav")
    still = made.inputs(stored, False)
    torch.manual_seed(seed)
    masked = made.inputs(stored, True)
    hidden = masked[0] != still[0]
    rows, columns = hidden.all(1), hidden.all(0)
    assert rows.sum() <= round(28 * freq)
    assert columns.sum() <= round(28 * time)
    np.testing.assert_array_equal(hidden, rows[:, None] | columns)
    for line in (rows, columns):
        assert np.abs(np.diff(np.concatenate([[0], line, [0]]).astype(int))).sum() in (0, 2)
    np.testing.assert_allclose(masked[0][hidden], still.mean(), atol=1e-6)


def stored_noise(made: FrontEnd, count: int = 6) -> list[np.ndarray]:
    return [made.spectrogram(noise(seed) * (seed + 1), 16_000, "a.wav") for seed in range(count)]


def test_rows_standardised_by_the_training_split() -> None:
    made = front_end(standardize="split")
    stored = stored_noise(made)
    with pytest.raises(UserError, match="rows are measured when training starts; train first"):
        made.inputs(stored[0], False)
    measured = made.measured(iter(stored))
    rows = np.concatenate([each[0] for each in stored], axis=1).astype(np.float64)
    np.testing.assert_allclose(measured["audio_mean"], rows.mean(1))
    np.testing.assert_allclose(measured["audio_deviation"], rows.std(1))
    standard = front_end(standardize="split", **measured)
    x = np.concatenate([standard.inputs(each, False)[0] for each in stored], axis=1)
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(1), 1, atol=1e-2)
    assert standard.measured(iter(stored)) == {}
    assert front_end().measured(iter(stored)) == made.measured([]) == {}
    silence = (np.log(1e-10) - rows.mean(1)) / (rows.std(1) + 1e-3)
    assert standard.blank.shape == (1, 28, 1)
    np.testing.assert_allclose(standard.blank[0, :, 0], silence, rtol=1e-4)


def test_one_mean_for_all_rows() -> None:
    made = front_end(standardize="split", audio_mean=[-4.0], audio_deviation=[2.0])
    (stored,) = stored_noise(made, 1)
    np.testing.assert_allclose(made.inputs(stored, False), (stored + 4) / 2.001, rtol=1e-5)


def test_statistics_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.audio_mean has 16 values, and a spectrogram 28 rows"):
        front_end(standardize="split", audio_mean=[0.0] * 16, audio_deviation=[1.0] * 16)
    with pytest.raises(ValidationError, match="belong together"):
        SoundConfig(audio_mean=(0.0,))


@given(freq=st.floats(0, 0.5), time=st.floats(0, 0.5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_shifts_move_every_cell_and_repeat_the_edge(freq: float, time: float, seed: int) -> None:
    made = front_end(freq_shift=freq, time_shift=time, standardize="none")
    x = np.random.default_rng(seed).standard_normal((1, 28, 28)).astype(np.float32)
    torch.manual_seed(seed)
    moved = made.inputs(x, True)
    torch.manual_seed(seed)
    np.testing.assert_array_equal(moved, made.inputs(x, True))
    np.testing.assert_array_equal(made.inputs(x, False), x)
    most_rows, most_columns = round(28 * freq), round(28 * time)
    padded = np.pad(x[0], ((most_rows, most_rows), (most_columns, most_columns)), mode="edge")
    found = [
        (row, column)
        for row in range(2 * most_rows + 1)
        for column in range(2 * most_columns + 1)
        if np.array_equal(padded[row : row + 28, column : column + 28], moved[0])
    ]
    assert len(found) == 1


def test_shifts_reach_both_ends() -> None:
    made = front_end(time_shift=0.1, standardize="none")
    x = np.broadcast_to(np.arange(28, dtype=np.float32), (1, 28, 28))
    torch.manual_seed(0)
    middles = {float(made.inputs(x, True)[0, 0, 14]) for _ in range(100)}
    assert middles == {11, 12, 13, 14, 15, 16, 17}


def test_a_recording_whose_spectrogram_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(audio, "repair_rate", fail)
    with pytest.raises(BadFileError, match=r"a.wav: its spectrogram cannot be computed \(it takes more memory"):
        front_end().decode(audio.encode_wav(noise(0), 16_000), "a.wav")
