"""Sound files that end early are refused in every format, and complete ones are not."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import audio, cut_off
from scmrl_plugins.plugins.datasets.miniatures.digits import tone

RATE = 16_000
FORMATS = [
    *[("WAV", "PCM_16", "FILE"), ("WAV", "PCM_16", "BIG"), ("RF64", "PCM_16", "FILE"), ("W64", "PCM_16", "FILE")],
    *[("AIFF", "PCM_16", "FILE"), ("AU", "PCM_16", "FILE"), ("CAF", "PCM_16", "FILE"), ("FLAC", "PCM_16", "FILE")],
    *[("OGG", "VORBIS", "FILE"), ("OGG", "OPUS", "FILE"), ("MP3", None, "FILE")],
    *[("mp4", "aac", None), ("asf", "libmp3lame", None), ("mpegts", "aac", None)],
]


def written(kind: str, subtype: str | None, endian: str | None, folder: Path = Path()) -> bytes:
    """A second of sound."""
    samples = 0.3 * np.random.default_rng(0).standard_normal(RATE)
    if kind.islower():  # mp4 with its index at the start, without which nothing can be decoded
        path, options = folder / "a", {"movflags": "faststart"} if kind == "mp4" else {}
        with av.open(str(path), "w", format=kind, options=options) as container:
            stream = container.add_stream(subtype, rate=RATE, layout="mono", bit_rate=64_000)
            frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
            frame.sample_rate = RATE
            resampler = av.AudioResampler(stream.format, "mono", RATE, stream.frame_size)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        return path.read_bytes()
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=kind, subtype=subtype, endian=endian)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "subtype", "endian"), FORMATS)
def test_a_cut_is_found_wherever_it_is(tmp_path: Path, kind: str, subtype: str | None, endian: str | None) -> None:
    data = written(kind, subtype, endian, tmp_path)
    assert len(audio.decode(data, "x")[0]) >= RATE
    for length in (*(len(data) * share // 100 for share in (20, 30, 45, 80, 99)), len(data) - 9):
        with pytest.raises(BadFileError) as caught:
            audio.decode(data[:length], "x")
        assert kind in ("FLAC", "OGG", "mp4") or "cut off" in caught.value.reason


def test_a_cut_in_a_frame_of_an_mp3_is_found_without_its_length() -> None:
    data = written("MP3", None, "FILE")
    stream = data[cut_off._frame_length(data[:4]) :]
    first = cut_off._frame_length(stream[:4])
    assert len(audio.decode(stream, "x")[0]) >= RATE
    with pytest.raises(BadFileError, match=r"cut off, \d+ bytes are missing"):
        audio.decode(stream[: 5 * first - 7], "x")


def test_notes_of_a_player_behind_an_mp3_are_no_damage() -> None:
    data = written("MP3", None, "FILE")
    samples, _ = audio.decode(data, "x")
    for notes in (b"TAG" + bytes(125), b"APETAGEX" + bytes(24), np.random.default_rng(0).bytes(3000)):
        noted, _ = audio.decode(data + notes, "x")
        np.testing.assert_array_equal(noted[:RATE], samples[:RATE])
    with pytest.raises(BadFileError, match="cut off"):
        audio.decode(data[: len(data) // 2] + b"TAG" + bytes(125), "x")


def test_a_header_that_counts_itself_is_no_cut() -> None:
    data = bytearray(audio.encode_wav(tone(), 8000))
    data[4:8] = len(data).to_bytes(4, "little")
    assert len(audio.decode(bytes(data), "x")[0]) == 800


@pytest.mark.parametrize("start", [b"RIFF\xff\xff\xff\xff", b".snd\0\0\0\x18\xff\xff\xff\xff", b"caff"])
def test_recorders_that_cannot_go_back_do_not_tell_the_length(start: bytes) -> None:
    stream = io.BytesIO(start + bytes(100))
    assert cut_off.streamed(stream)
    assert cut_off.missing(stream) is None
