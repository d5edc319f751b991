"""Parts of long recordings."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.core.interfaces import RepairedFileWarning
from scmrl_plugins.plugins.datasets.media import audio
from scmrl_plugins.plugins.datasets.media.audio import decode, encode_exactly, windows

RATE = 4000


def wav(samples: np.ndarray) -> bytes:
    return encode_exactly(samples, RATE)


def test_what_is_encoded_exactly_is_decoded_to_the_bit() -> None:
    samples = np.random.default_rng(0).normal(0, 0.2, 500)
    found, rate = decode(wav(samples), "a.wav")
    assert rate == RATE
    assert np.array_equal(found, samples)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12_000), st.integers(100, 5_000), st.integers(100, 9_000))
def test_windows_are_the_parts_of_the_recording(total: int, length: int, hop: int) -> None:
    samples = np.random.default_rng(total).normal(0, 0.2, total)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        found = list(windows(wav(samples), "a.wav", length / RATE, hop / RATE))
    if total < length:
        assert len(found) == 1
        assert np.array_equal(found[0][1].samples, samples)
        return
    assert len(found) == (total - length) // hop + 1
    for index, (start, heard) in enumerate(found):
        assert start == pytest.approx(index * hop / RATE)
        assert np.array_equal(heard.samples, samples[index * hop : index * hop + length])


def test_the_rest_is_noted_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording longer than ``MOST`` is divided, where ``decode`` refuses it."""
    monkeypatch.setattr(audio, "MOST", 9000)
    source = wav(np.random.default_rng(0).normal(0, 0.2, 30_000))
    with pytest.warns(RepairedFileWarning, match=r"its last 0\.50 s are in no window"):
        assert len(list(windows(source, "a.wav", 1.0, 1.0))) == 7


def test_a_silent_channel_after_a_loud_one_is_not_taken_for_opposite_phase(tmp_path: Path) -> None:
    loud = np.random.default_rng(0).normal(0, 0.2, (RATE, 2))
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([loud, np.zeros((RATE, 2))]), RATE)
    with pytest.warns(RepairedFileWarning, match="2 channels"):
        found = [heard.samples for _, heard in windows(path, path, 0.5, 0.5)]
    assert [bool(np.ptp(samples)) for samples in found] == [True, True, False, False]
