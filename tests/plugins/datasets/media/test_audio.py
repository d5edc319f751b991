from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import REAL
from scipy import signal

from scmrl_plugins.plugins.datasets.media import audio
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.registry import UserError


def scipy_log_stft(samples: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    _, _, spectrum = signal.stft(
        np.clip(samples, -1, 1),
        window="hann",
        nperseg=n_fft,
        noverlap=n_fft - hop,
        padded=False,
        boundary="zeros",
    )
    # scipy divides by the sum of the window.
    return np.log(np.abs(spectrum) * signal.get_window("hann", n_fft).sum() + 1e-7)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 3000),
    half=st.integers(8, 256),
    hop=st.integers(1, 400),
    seed=st.integers(0, 99),
    gain=st.sampled_from([0.0, 1e-4, 0.3, 3.0]),
)
def test_spectrogram_is_scipys(length: int, half: int, hop: int, seed: int, gain: float) -> None:
    n_fft, hop = 2 * half, min(hop, 2 * half)
    samples = gain * np.random.default_rng(seed).standard_normal(length)
    ours = audio.log_spectrogram(samples, n_fft, hop)
    assert ours.shape == (half + 1, 1 + length // hop)
    if length >= n_fft:  # scipy shortens the window for less
        np.testing.assert_allclose(ours, scipy_log_stft(samples, n_fft, hop), atol=1e-6)


def test_published_settings_agree_with_scipy() -> None:
    samples = np.random.default_rng(0).standard_normal(22050) * 0.5
    np.testing.assert_allclose(
        audio.log_spectrogram(samples, 512, 353), scipy_log_stft(samples, 512, 353), atol=1e-6
    )


def test_one_sample_and_silence_have_a_spectrogram() -> None:
    silence = audio.log_spectrogram(np.zeros(1), 256, 80)
    np.testing.assert_allclose(silence, np.log(1e-7))
    assert silence.shape == (129, 1)


def test_loud_samples_are_clamped() -> None:
    square = np.sign(tone())
    np.testing.assert_array_equal(
        audio.log_spectrogram(7 * square, 256, 80), audio.log_spectrogram(square, 256, 80)
    )


@pytest.mark.parametrize(("rate", "target"), [(44100, 8000), (22050, 8000), (8000, 16000), (11025, 8000)])
def test_resampling_keeps_a_tone(rate: int, target: int) -> None:
    got = audio.resample(tone(500, rate, 0.5), rate, target)
    want = tone(500, target, 0.5)
    assert abs(len(got) - len(want)) <= 1
    middle = slice(len(want) // 4, 3 * len(want) // 4)
    np.testing.assert_allclose(got[middle], want[middle], atol=5e-3)


def test_resampling_is_scipys_and_removes_what_would_alias() -> None:
    samples = np.random.default_rng(1).standard_normal(2000)
    np.testing.assert_allclose(
        audio.resample(samples, 22050, 8000), signal.resample_poly(samples, 160, 441), atol=1e-12
    )
    assert np.abs(audio.resample(tone(6000, 16000, 0.5), 16000, 8000)[200:-200]).max() < 0.01


@pytest.mark.parametrize(
    ("rates", "expected"),
    [([8000, 16_000, 16_000], 16_000), ([8000, 16_000], 16_000), ([8000, None], 8000), ([None], None), ([], None)],
)
def test_the_common_rate_is_that_of_most_headers(tmp_path: Path, rates: list[int], expected: int | None) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(len(rates))]
    for path, rate in zip(paths, rates, strict=True):
        path.write_bytes(audio.encode_wav(tone(), rate) if rate else b"no sound")
    assert audio.common_rate(paths) == expected
    assert audio.common_rate([path.read_bytes() for path in paths]) == expected


def test_stereo_is_averaged(tmp_path: Path) -> None:
    left, right = tone(300), tone(700)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 8000, subtype="FLOAT")
    samples, rate = audio.decode(tmp_path / "a.wav", "a.wav")
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-6)
    assert rate == 8000


def test_sixteen_bit_samples_survive_encoding() -> None:
    pcm = np.arange(-32768, 32768, 7, dtype=np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, 8000, format="WAV", subtype="PCM_16")
    samples, rate = audio.decode(buffer.getvalue(), "x")
    again, _ = soundfile.read(io.BytesIO(audio.encode_wav(samples, rate)), dtype="int16")
    np.testing.assert_array_equal(again, pcm)


def test_encoding_clips_instead_of_wrapping() -> None:
    samples, _ = audio.decode(audio.encode_wav(np.array([1.5, -1.5, 1.0]), 8000), "x")
    np.testing.assert_allclose(samples, [1, -1, 1], atol=1e-4)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    def at(name: str, data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    def wav(name: str, samples: np.ndarray, rate: int = 8000) -> Path:
        soundfile.write(folder / name, samples, rate, subtype="FLOAT")
        return folder / name

    complete = audio.encode_wav(tone(), 8000)
    nan = tone()
    nan[10] = np.nan
    return {
        "absent": (folder / "absent.wav", "cannot be read"),
        "folder": (folder, "cannot be read"),
        "nothing": (at("nothing.wav", b""), "is empty"),
        "text": (at("text.wav", b"hello there, this is no sound"), "not a sound file"),
        "cut": (at("cut.wav", complete[:700]), f"{len(complete) - 700} bytes are missing"),
        "empty": (wav("empty.wav", np.zeros(0)), "no samples"),
        "nan": (wav("nan.wav", nan), "NaN"),
        "inf": (wav("inf.wav", np.array([0.0, np.inf])), "infinity"),
        "rate": (wav("rate.wav", tone(), 2_000_000_000), "sample rate of 2000000000 Hz"),
    }


@pytest.mark.parametrize("kind", ["absent", "folder", "nothing", "text", "cut", "empty", "nan", "inf", "rate"])
def test_bad_files_are_named(tmp_path: Path, kind: str) -> None:
    path, reason = bad_files(tmp_path)[kind]
    with pytest.raises(UserError, match=reason) as caught:
        audio.decode(path, path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_streamed_wav_without_its_length_is_taken() -> None:
    data = bytearray(audio.encode_wav(tone(), 8000))
    data[4:8] = b"\xff\xff\xff\xff"
    assert len(audio.decode(bytes(data), "x")[0]) == 800


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(4, 40))
@settings(max_examples=30, deadline=None)
def test_resizing_keeps_constants_and_range(height: int, width: int, size: int) -> None:
    np.testing.assert_allclose(resize(np.full((height, width), 0.7), size), 0.7, atol=1e-6)
    ramp = np.linspace(0, 1, height * width).reshape(height, width)
    resized = resize(ramp, size)
    assert resized.shape == (size, size)
    assert resized.dtype == np.float32
    assert resized.min() >= -1e-6
    assert resized.max() <= 1 + 1e-6


def test_shrinking_sees_every_bin() -> None:
    # One bright bin of 129: wherever it is, it must be seen in 28 rows.
    for row in range(129):
        grid = np.zeros((129, 28))
        grid[row] = 1
        assert resize(grid, 28).max() > 0.05


@pytest.mark.skipif(not (REAL / "fsdd").is_dir(), reason="no recordings here")
def test_real_recordings_agree_with_scipy() -> None:
    for path in sorted((REAL / "fsdd" / "recordings").glob("*_0.wav"))[::7]:
        samples, rate = audio.decode(path, path)
        assert rate == 8000
        np.testing.assert_allclose(
            audio.log_spectrogram(samples, 256, 80), scipy_log_stft(samples, 256, 80), atol=1e-6
        )
