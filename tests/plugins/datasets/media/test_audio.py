from __future__ import annotations

import contextlib
import io
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import REAL
from scipy import signal

from scmrl_plugins.core.interfaces import BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.media import audio, cut_off
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


SAVED = [
    *[("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")],
    *[("RF64", "PCM_16"), ("W64", "PCM_16"), ("WAVEX", "PCM_16"), ("AU", "FLOAT"), ("CAF", "PCM_16")],
    *[("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")],
]


def saved(samples: np.ndarray, kind: str, subtype: str | None = None, rate: int = 8000, **options: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype, **options)
    return buffer.getvalue()


def refused(data: bytes | Path, longest: float = 600.0) -> str:
    with pytest.raises(BadFileError) as caught:
        audio.decode(data, "folder/x.wav", longest)
    assert caught.value.path == "folder/x.wav"
    assert ";" in caught.value.reason  # and a remedy
    return caught.value.reason


@pytest.mark.parametrize(("kind", "subtype"), SAVED)
def test_the_samples_are_libsndfiles(kind: str, subtype: str) -> None:
    data = saved(tone(), kind, subtype)
    samples, rate = audio.decode(data, "x")
    assert rate == 8000
    np.testing.assert_array_equal(samples, soundfile.read(io.BytesIO(data))[0])


def test_an_mp3_is_as_long_as_what_was_written() -> None:
    written = tone(440, 44_100, 1.0)
    samples, _ = audio.decode(saved(written, "MP3", rate=44_100), "x")
    assert len(samples) == len(written)
    np.testing.assert_allclose(samples, written, atol=0.05)


def test_an_mp3_of_variable_bit_rate_without_its_length_is_read_to_the_end() -> None:
    noise = np.random.default_rng(0).standard_normal(8000) * 0.3
    data = saved(np.concatenate([noise, 0.01 * tone(440, 8000, 5.0)]), "MP3", bitrate_mode="VARIABLE")
    assert b"Xing" in data[:200]
    without = data[cut_off._frame_length(data[:4]) :]
    assert len(audio.decode(without, "x")[0]) >= 48_000


def test_a_flac_of_unknown_length_is_read_and_one_that_claims_too_much_is_refused() -> None:
    data = bytearray(saved(tone(), "FLAC"))
    claimed = int.from_bytes(data[18:26], "big")
    data[18:26] = (claimed >> 36 << 36).to_bytes(8, "big")
    assert len(audio.decode(bytes(data), "x")[0]) == 800
    data[18:26] = (claimed | (1 << 36) - 1).to_bytes(8, "big")
    assert "cut off" in refused(bytes(data))


def test_a_damaged_flac_is_found_by_its_check_sums() -> None:
    data = bytearray(saved(np.random.default_rng(0).standard_normal(8000) * 0.1, "FLAC"))
    data[-2000] ^= 1
    refused(bytes(data))


def test_the_sound_of_a_video_and_an_m4a_are_read(tmp_path: Path) -> None:
    for ending in (".mp4", ".m4a"):
        path = tmp_path / f"a{ending}"
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=44_100, layout="mono")
            frame = av.AudioFrame.from_ndarray(tone(440, 44_100, 0.5)[None].astype(np.float32), "fltp", "mono")
            frame.sample_rate = 44_100
            container.mux([*stream.encode(frame), *stream.encode(None)])
        samples, rate = audio.decode(path, path)
        assert rate == 44_100
        assert abs(len(samples) - 22_050) <= 2 * 1024
        spectrum = np.abs(np.fft.rfft(samples[:22_050] * np.hanning(22_050)))
        assert spectrum.argmax() * 2 == 440


def test_a_video_without_sound_is_named() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert "holds no sound, though it may hold pictures" in refused(buffer.getvalue())


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile a.wav\n", "#EXTM3U\n#EXTINF:1,\na.wav\n"])
def test_a_list_of_other_files_is_no_sound(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", tone(), 8000)
    Path("list.wav").write_text(text)
    assert "not a sound file" in refused(Path("list.wav"))


def test_a_long_sound_is_refused_without_being_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(saved(tone(), "WAV", "PCM_16"))
    with path.open("r+b") as file:  # a file of 1.9 GB without its content
        size = 1_900_000_000
        file.write(b"RIFF" + (size - 8).to_bytes(4, "little"))
        file.seek(40)
        file.write((size - 44).to_bytes(4, "little"))
        file.truncate(size)
    tracemalloc.start()
    try:
        assert "lasts more than 2 s; cut it, or raise dataset.longest_sound" in refused(path, longest=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 23


def test_no_sound_is_longer_than_the_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MOST", 799)
    assert "lasts more than 0.099875 s" in refused(saved(tone(), "WAV"))


def test_samples_in_the_scale_of_integers_are_refused() -> None:
    assert "its samples reach 10000, where full scale is 1" in refused(saved(2e4 * tone(), "WAV", "FLOAT"))


def test_silence_has_its_true_cause() -> None:
    opposite = saved(np.stack([tone(), -tone()], axis=1), "WAV", "PCM_16")
    assert "its channels cancel one another" in refused(opposite)
    for samples, reason in [
        (np.zeros(9), "nothing but silence"),
        (np.full(9, 0.25), "nothing but one constant value, 0.25"),
        (np.ones(1), "a single sample"),
    ]:
        with pytest.raises(BadFileError, match=reason):
            audio.refuse_silence(samples, "x")


def test_clamped_samples_are_noted() -> None:
    with pytest.warns(RepairedFileWarning, match="samples of up to 3 are clamped to 1"):
        audio.note_clamping(np.array([0.0, -3.0]), "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audio.note_clamping(np.array([0.0, 1.05]), "x")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF", "W64"]),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=4),
)
def test_whatever_is_damaged_no_other_error_comes(kind: str, places: list[tuple[float, int]]) -> None:
    data = bytearray(saved(tone(440, 8000, 0.3), kind))
    for share, bit in places:
        data[int(share * len(data))] ^= 1 << bit
    with contextlib.suppress(BadFileError), warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        samples, _ = audio.decode(bytes(data), "x")
        assert np.isfinite(samples).all()


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
