"""Videos to frames: which frames, upright, and what is wrong with files that cannot be used."""

from __future__ import annotations

import io
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import video
from scmrl_plugins.plugins.datasets.miniatures.crema_d import write_video
from scmrl_plugins.plugins.datasets.miniatures.digits import tone

FORMATS = [".flv", ".mp4", ".avi", ".mov"]
LENGTH, RATE = 16, 8
"""Frames of the videos here, and frames a second."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of each format, ``a.flv`` and so on; not to be changed."""
    folder = tmp_path_factory.mktemp("videos")
    for ending in FORMATS:
        write_video(folder / f"a{ending}", 1, frames=LENGTH, rate=RATE)
    return folder


def frames_of(data: bytes) -> list[np.ndarray]:
    """All frames, as they come."""
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def refused(data: bytes | Path, count: int = 1) -> str:
    """The reason for which a file is bad."""
    with pytest.raises(BadFileError) as caught:
        video.decode(data, "folder/x.flv", count)
    assert str(caught.value) == f"folder/x.flv: {caught.value.reason}"
    assert ";" in caught.value.reason  # and a remedy
    assert "\n" not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("count", "places"), [(1, [8]), (2, [4, 12]), (3, [2, 8, 13]), (16, list(range(16))), (32, None)]
)
def test_frames_are_the_middles_of_equal_parts(
    folder: Path, ending: str, count: int, places: list[int] | None
) -> None:
    path = folder / f"a{ending}"
    every = frames_of(path.read_bytes())
    assert len(every) == LENGTH
    assert len({frame.tobytes() for frame in every}) == LENGTH
    if places is None:
        places = [place // 2 for place in range(32)]  # fewer frames than asked for: each twice
    found = video.decode(path, path, count)
    assert all(frame.dtype == np.uint8 and frame.shape == (24, 32, 3) for frame in found)
    assert all(np.array_equal(frame, every[place]) for frame, place in zip(found, places, strict=True))


def test_a_frame_is_the_one_that_was_written(folder: Path) -> None:
    (middle,) = video.decode(folder / "a.flv", "a.flv", 1)
    bright = np.flatnonzero(middle.mean(axis=(1, 2)) > 180)
    assert bright.tolist() == list(range(8 * 24 // 16, 8 * 24 // 16 + 6))  # see write_video


def test_bytes_are_as_good_as_a_path_and_always_give_the_same(folder: Path) -> None:
    first, second = (
        video.decode(source, "a.flv", 3) for source in (folder / "a.flv", (folder / "a.flv").read_bytes())
    )
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(("ending", "size"), [(".flv", (35, 47)), (".flv", (480, 360)), (".avi", (33, 21))])
def test_any_size(tmp_path: Path, ending: str, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / f"a{ending}", 1, frames=3, size=size)
    (frame,) = video.decode(path, path, 1)
    assert frame.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("rate", [1, 2, 30])
def test_one_frame_is_a_video(tmp_path: Path, rate: int) -> None:
    for ending in FORMATS:
        path = write_video(tmp_path / f"a{ending}", 1, frames=1, rate=rate)
        found = video.decode(path, path, 2)
        assert len(found) == 2
        assert np.array_equal(*found)


def with_matrix(data: bytes, *numbers: float) -> bytes:
    """An mp4 file with another display matrix."""
    place = data.find(b"tkhd") + 4 + 40  # of the first track, in 16.16 and 2.30 bits
    a, b, c, d = (round(65536 * number) for number in numbers)
    return data[:place] + np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes() + data[place + 36 :]


@pytest.mark.parametrize("across", [1, -1])
@pytest.mark.parametrize("down", [1, -1])
@pytest.mark.parametrize("swapped", [False, True])
def test_frames_are_turned_and_mirrored(folder: Path, across: int, down: int, swapped: bool) -> None:
    """A pixel (x, y) is shown at (a x + c y, b x + d y)."""
    data = (folder / "a.mp4").read_bytes()
    (plain,) = video.decode(data, "a.mp4", 1)
    (shown,) = video.decode(
        with_matrix(data, *((0, down, across, 0) if swapped else (across, 0, 0, down))), "a.mp4", 1
    )
    height, width = plain.shape[:2]
    for x, y in [(3, 5), (20, 13)]:
        right, below = (y, x) if swapped else (x, y)
        size = (height, width) if swapped else (width, height)
        column = right if across > 0 else size[0] - 1 - right
        row = below if down > 0 else size[1] - 1 - below
        assert np.array_equal(shown[row, column], plain[y, x])


def test_a_matrix_of_another_angle_is_refused(folder: Path) -> None:
    data = (folder / "a.mp4").read_bytes()
    assert "by other than a right angle" in refused(with_matrix(data, 0.7, 0.7, -0.7, 0.7))


def write_at(times: list[int], title: str = "") -> bytes:
    """An mp4 file with a frame of its own gray at each of the times, in tenths of a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["title"] = title
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 10)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def test_frames_are_chosen_by_their_time() -> None:
    data = write_at([0, 10, 20, 21, 22, 23, 24, 25, 26, 27, 28])
    found = video.decode(data, "a.mp4", 4)  # at 0.36, 1.09, 1.81 and 2.54 s
    assert [round(float(frame.mean()) / 20) for frame in found] == [0, 1, 1, 7]


@given(
    count=st.integers(1, 64),
    total=st.integers(1, 200),
    rate=st.sampled_from([1, 12, 23.976, 29.97, 60]),
    start=...,
)
def test_at_a_constant_rate_frames_are_counted(count: int, total: int, rate: float, start: bool) -> None:
    times = [round(start + index / rate, 3) for index in range(total)]
    counted = [(2 * part + 1) * total // (2 * count) for part in range(count)]
    for duration in (0.0, round(1 / rate, 3)):
        assert video.shown(times, duration, count) == counted
    assert video.shown([None, *times[1:]], 0.0, count) == counted
    assert video.shown(times[::-1], 0.0, count) == counted


@given(
    times=st.lists(st.integers(0, 10_000), min_size=2, unique=True).map(sorted),
    duration=st.integers(1, 5000),
    count=st.integers(1, 64),
)
def test_a_frame_is_shown_until_the_next(times: list[int], duration: int, count: int) -> None:
    chosen = video.shown(times, duration, count)
    steps = np.diff([*times, times[-1] + duration])
    if np.ptp(steps):
        lasts = times[-1] + duration - times[0]
        for part, index in enumerate(chosen):
            middle = times[0] + lasts * (2 * part + 1) / (2 * count)
            assert times[index] <= middle < times[index] + steps[index]


def test_the_last_frame_is_shown_as_long_as_it_lasts() -> None:
    assert video.shown([0.0, 1.0], 9.0, 4) == [1, 1, 1, 1]
    assert video.shown([0.0, 1.0], 0.0, 4) == [0, 0, 1, 1]


def test_an_index_that_counts_more_samples_than_bytes_is_refused() -> None:
    """FFmpeg would reserve 7 GB for it."""
    data = bytearray(write_at([0, 1, 2]))
    place = data.find(b"stsz") + 8
    data[place : place + 8] = (1).to_bytes(4, "big") + (100_000_000).to_bytes(4, "big")
    assert "its index counts more samples than it has bytes" in refused(bytes(data))


def test_a_title_that_is_not_utf8_does_not_matter() -> None:
    data = write_at([0, 1, 2], "caf_e")
    assert b"caf_e" in data
    assert len(video.decode(data.replace(b"caf_e", b"caf\xe9e"), "a.mp4", 2)) == 2


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile a.mp4\n", "#EXTM3U\n#EXTINF:1,\na.mp4\n"])
def test_a_list_of_other_files_is_no_video(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "not a video that can be read" in refused(text.encode())


def test_a_long_video_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_at([0, 10, 20, 30])
    with pytest.raises(BadFileError, match=r"lasts more than 2.5 s or 131,072 frames; cut it, or raise dataset"):
        video.decode(data, "x", 1, 2.5)
    monkeypatch.setattr(video, "MOST", 3)
    assert "3 frames" in refused(data)


def test_one_frame_at_a_time_is_in_memory(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.flv", 1, frames=40, size=(320, 240))
    video.decode(path, path, 1)
    tracemalloc.start()
    try:
        video.decode(path, path, 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size + 6 * 320 * 240 * 3  # all of them are 40 times 320 * 240 * 3


def test_a_song_and_its_cover_are_no_video(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(440, 44_100, 0.5), 44_100)
    sound = (tmp_path / "a.mp3").read_bytes()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "JPEG")
    picture = b"\x00image/jpeg\x00\x03\x00" + buffer.getvalue()
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\x00\x00" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    covered = b"ID3\x03\x00\x00" + size + frame + sound
    assert len(frames_of(covered)) == 1  # which FFmpeg takes for a video
    for data in (sound, covered):
        assert "holds no video, though it may hold sound" in refused(data)


def test_a_video_without_frames(tmp_path: Path) -> None:
    assert "the video holds no frames" in refused(write_video(tmp_path / "a.avi", 1, frames=0))


def test_a_codec_that_is_not_known(folder: Path) -> None:
    data = (folder / "a.avi").read_bytes()
    assert b"FMP4" in data
    assert "of an unknown codec" in refused(data.replace(b"FMP4", b"ZZZZ"))


def test_a_frame_that_is_too_large_to_be_true(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "LARGEST", 24 * 32 - 1)
    assert "not a video that can be read" in refused(folder / "a.flv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"no video " * 500, "not a video that can be read"),
        (b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00", "not a video that can be read"),
        (bytes(range(256)) * 20, "not a video that can be read"),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.flv").write_bytes(content)
    assert reason in refused(tmp_path / "x.flv")
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "gone.flv")
    assert "cannot be read (Is a directory)" in refused(tmp_path)


def tags(data: bytes) -> list[tuple[int, int, int]]:
    """``(kind, start, end)`` of every tag of an flv file; video is of kind 9."""
    found, place = [], 13
    while place < len(data):
        end = place + 11 + int.from_bytes(data[place + 1 : place + 4], "big")
        found.append((data[place], place, end))
        place = end + 4
    return found


def decoded(data: bytes, name: str) -> list[np.ndarray] | None:
    """Two frames, or none where the file is bad; another error is no answer."""
    try:
        return video.decode(data, name, 2)
    except BadFileError:
        return None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_is_found_unless_less_than_the_slack_is_lost(folder: Path, share: float) -> None:
    data = (folder / "a.flv").read_bytes()
    cut = data[: int(share * len(data))]
    if decoded(cut, "a.flv") is not None:
        assert len(frames_of(cut)) >= LENGTH - RATE * video.SLACK - 1


@pytest.mark.parametrize("ending", [".avi", ".mkv", ".mp4"])
def test_a_cut_is_found_in_other_containers(tmp_path: Path, ending: str) -> None:
    data = write_video(tmp_path / f"a{ending}", 1).read_bytes()
    assert len(video.decode(data, "x", 1)) == 1
    for share in (0.2, 0.5, 0.9, 0.99):
        refused(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["flv", "matroska"])
def test_a_cut_is_found_in_a_stream_without_its_length(kind: str) -> None:
    class Pipe(io.BytesIO):
        seek = None

    pipe = Pipe()
    with av.open(pipe, "w", format=kind) as container:
        stream = container.add_stream("flv1" if kind == "flv" else "mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            noise = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode(None))
    data = pipe.getvalue()
    assert len(video.decode(data, "x", 1)) == 1
    for share in (0.3, 0.5, 0.7, 0.9, 0.99):
        refused(data[: int(share * len(data))])


def test_a_cut_in_a_frame_and_one_between_two(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = (folder / "a.flv").read_bytes()
    pictures = [(start, end) for kind, start, end in tags(data) if kind == 9]
    assert len(pictures) >= LENGTH
    start, end = pictures[8]
    assert "cut off or damaged after 0.88 s" in refused(data[: end - 1])
    assert "cut off, 0.88 s of 2.00 s are there" in refused(data[:start])
    last = pictures[LENGTH - 1]
    assert "cut off or damaged" in refused(data[: last[1] - 1])
    assert capfd.readouterr() == ("", "")


def test_damage_in_any_frame_is_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Large enough that no noise is a picture by chance.
    data = write_video(tmp_path / "a.flv", 1, frames=LENGTH, size=(160, 120)).read_bytes()
    pictures = [(start, end) for kind, start, end in tags(data) if kind == 9 and end - start > 40]
    assert len(pictures) == LENGTH
    for start, end in pictures:
        noise = np.random.default_rng(start).bytes(end - start - 20)
        reason = refused(data[: start + 20] + noise + data[end:])
        assert "damaged near" in reason or "not a video that can be read" in reason
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ending=st.sampled_from(FORMATS), share=st.floats(0, 1), noise=st.binary(min_size=1, max_size=12))
def test_whatever_is_damaged_no_other_error_comes(folder: Path, ending: str, share: float, noise: bytes) -> None:
    data = bytearray((folder / f"a{ending}").read_bytes())
    place = int(share * len(data))
    data[place : place + len(noise)] = noise
    found = decoded(bytes(data), f"a{ending}")
    assert found is None or [(frame.ndim, frame.dtype) for frame in found] == [(3, np.uint8)] * 2
