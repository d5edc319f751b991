"""Clips: what is seen at a step is heard at that step, whatever the file's time stamps are."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from clips import clip, even
from hypothesis import given
from hypothesis import strategies as st
from paths import REAL
from PIL import Image

from scmrl_plugins.core.interfaces import BadFileError, ModelConfig, RepairedFileWarning
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.plugins.datasets.crema_d import CremaD
from scmrl_plugins.plugins.datasets.files.window import Window, split_window
from scmrl_plugins.plugins.datasets.media import audio, container, video
from scmrl_plugins.plugins.datasets.media.clip import in_middles, striking_frames
from scmrl_plugins.registry import UserError

STEPS = 8


def stored(data: bytes, name: str = "a.mp4", **options: Any) -> tuple[AVFolder, dict[str, np.ndarray]]:
    """The data set, and what it stores of a clip."""
    config = AVFolder.Config(classes=("a", "b"), sample_rate=16_000, **{"align": "step", **options})
    dataset = AVFolder(config, ModelConfig(steps=STEPS, image_size=16))
    cell = {"bytes": data, "path": name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        found = dataset.transform({"audio": [cell], "visual": [cell]})
    return dataset, {modality: arrays[0] for modality, arrays in found.items()}


def steps(inputs: dict[str, np.ndarray]) -> tuple[int, int]:
    """The step of the flash and that of the beep."""
    return int(inputs["visual"].mean((1, 2, 3)).argmax()), int(inputs["audio"].max((1, 2, 3)).argmax())


def seen_and_heard(data: bytes, name: str = "a.mp4", **options: Any) -> tuple[int, int]:
    dataset, arrays = stored(data, name, **options)
    return steps(dataset.inputs(arrays, False))


LATE = even(start=1.3)
UNEVEN = [*np.arange(0, 1.5, 0.25), *np.arange(1.5, 3.2, 0.04), *np.arange(3.3, 4.0, 0.3)]


FILES: list[tuple[dict[str, Any], tuple[float, float]]] = [
    ({}, (0, 4)),
    ({"b_frames": 2}, (0, 4)),
    ({"rate": Fraction(30_000, 1001), "times": even(30_000 / 1001)}, (0, 4)),
    ({"times": UNEVEN}, (0, 4)),
    ({"format": "mov"}, (0, 4)),
    ({"format": "matroska"}, (0, 4)),
    ({"format": "matroska", "times": UNEVEN}, (0, 4)),
    ({"format": "flv", "codecs": ("flv", "aac")}, (0, 4)),
    ({"format": "mpeg", "codecs": ("mpeg1video", "mp2")}, (0, 4)),
    ({"format": "avi", "codecs": ("mpeg4", "libmp3lame")}, (0, 4)),
    ({"format": "avi", "codecs": ("mpeg4", "libmp3lame"), "b_frames": 2}, (0, 4)),
    ({"format": "mpegts", "b_frames": 2}, (0, 4)),
    ({"format": "mpegts", "times": LATE, "sound": (1.3, 5.3)}, (1.3, 4)),
    ({"format": "asf", "codecs": ("mpeg4", "libmp3lame")}, (0, 4)),
    ({"format": "3gp"}, (0, 4)),
    # The file starts with its earliest stream and ends with its latest.
    ({"times": LATE}, (0, 5.3)),
    ({"times": LATE, "format": "matroska"}, (0, 5.3)),
    ({"sound": (1.3, 5.3)}, (0, 5.3)),
    ({"times": LATE, "sound": (1.3, 5.3), "format": "matroska"}, (1.3, 4)),
    # An edit list leaves out what is before 0.
    ({"times": even(start=-1.3), "sound": (-1.3, 2.7)}, (0, 2.7)),
]
"""How clips are written, and from when they last how long."""


def written(event: float, options: dict[str, Any], **more: Any) -> tuple[bytes, str]:
    """A clip and its name."""
    ending = {"matroska": "mkv", "mpeg": "mpg", "mpegts": "ts", "asf": "wmv"}.get(
        kind := options.get("format", "mp4"), kind
    )
    return clip(event, **options, **more), f"a.{ending}"


@pytest.mark.parametrize(("options", "span"), FILES)
def test_the_step_that_sees_the_flash_hears_the_beep(options: dict[str, Any], span: tuple[float, float]) -> None:
    start, seconds = span
    assert seen_and_heard(*written(start + seconds * 5.5 / STEPS, options)) == (5, 5)


@pytest.mark.parametrize(("options", "span"), FILES)
def test_a_flash_of_one_frame_is_seen_anywhere_in_its_step(
    options: dict[str, Any], span: tuple[float, float]
) -> None:
    start, seconds = span
    event = start + seconds * 5.2 / STEPS
    data, name = written(event, options, lasting=0.04)
    assert seen_and_heard(data, name) == (5, 5)
    dataset, arrays = stored(data, name, step_frame="middle")
    assert np.ptp(dataset.inputs(arrays, False)["visual"].mean((1, 2, 3))) < 0.1


def chosen(levels: Sequence[float], parts: int = 4) -> list[int]:
    """The frames of the parts of a clip whose frames have these grey levels, and of equal duration."""
    seconds = [index / 25 for index in range(len(levels))]
    times = video.Times(seconds, 1 / 25, outlines=[np.full((16, 16), level, np.uint8) for level in levels])
    windows = [(0.0, len(levels) / 25)]
    return striking_frames(times, windows, in_middles(times.known(), windows, parts))[0].tolist()


MIDDLES = [5, 15, 25, 35]


@pytest.mark.parametrize(
    ("levels", "frames"),
    [
        ([90] * 40, MIDDLES),
        ([90] * 21 + [200] + [90] * 18, [5, 15, 21, 35]),
        ([90] * 21 + [120, 200, 140] + [90] * 16, [5, 15, 22, 35]),
        ([90] * 38 + [200, 90], [5, 15, 25, 38]),
        ([200] * 21 + [60] + [200] * 18, [5, 15, 21, 35]),
        ([90] * 21 + [0] + [90] * 18, MIDDLES),  # black, as between two scenes
        ([90] * 22 + [200] * 18, MIDDLES),  # a cut
        ([20, 40, 60] + [90] * 34 + [60, 40, 20], MIDDLES),  # fades
        ([*range(50, 90)], MIDDLES),
        ([90, 105] * 20, MIDDLES),
    ],
)
def test_striking_frames_are_those_that_differ_for_a_moment(levels: list[float], frames: list[int]) -> None:
    assert chosen(levels) == frames


@given(levels=st.lists(st.integers(0, 255), min_size=1, max_size=60), parts=st.integers(1, 8))
def test_the_frame_of_a_part_is_in_it_or_is_shown_in_its_middle(levels: list[int], parts: int) -> None:
    middles = np.minimum((2 * np.arange(parts) + 1) * len(levels) // (2 * parts), len(levels) - 1)
    for part, (frame, middle) in enumerate(zip(chosen(levels, parts), middles.tolist(), strict=True)):
        assert frame == middle or part <= (frame + 0.5) * parts / len(levels) < part + 1


@given(path=st.text(min_size=1), start=st.floats(0, 1e5), seconds=st.none() | st.floats(1e-3, 1e5))
def test_a_path_with_a_window_is_split_again(path: str, start: float, seconds: float | None) -> None:
    name, window = split_window(Window(start, seconds).of(path))
    assert window
    assert name == path
    assert (window.start, window.end) == pytest.approx((start, start + seconds if seconds else float("inf")))


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in ("audio", "visual"))


@pytest.fixture(scope="module")
def plain() -> bytes:
    """A clip of 4 s with its event at 2.2."""
    return clip(2.2)


def test_a_window_is_the_same_however_it_is_given(plain: bytes) -> None:
    _, numbers = stored(plain, clip={"start": 1.0, "seconds": 2.0})
    _, middle = stored(plain, clip={"start": "middle", "seconds": 2.0})
    _, of_row = stored(plain, "a.mp4#t=1.0,3.0")
    _, within = stored(plain, "a.mp4#t=0.5,", clip={"start": 0.5, "seconds": 2.0})
    assert same(numbers, of_row)
    assert same(numbers, within)
    # The sound of an mp4 ends some ms behind its last frame, so that the middle is not exactly at 2 s.
    assert np.abs(numbers["audio"] - middle["audio"]).mean() < 0.5
    assert np.array_equal(numbers["visual"], middle["visual"])


@pytest.mark.parametrize("options", [{}, {"format": "avi", "codecs": ("mpeg4", "libmp3lame"), "b_frames": 2}])
def test_frames_are_decoded_once_unless_packets_tell_other_times(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clip(2.2, **options)
    expected, decode, again = stored(data)[1], video.frames, []

    def frames(*arguments: Any) -> dict[int, np.ndarray]:
        again.append(1)
        return decode(*arguments)

    monkeypatch.setattr(video, "frames", frames)
    assert same(stored(data)[1], expected)
    assert not again
    for wrong in (video.Times(), video.Times([0.0, 9.0], 1.0), video.Times([0.0, 1.0, 1.5], 0.5)):
        monkeypatch.setattr(video, "expected_times", lambda *_, wrong=wrong: wrong)
        assert same(stored(data)[1], expected)
    assert len(again) == 3


def test_times_that_are_missing_or_impossible() -> None:
    times = video.Times([0.0, 0.08, 0.04, 0.12], 0.04, 0.0)
    assert times.known().tolist() == [0.0, 0.04, 0.08, 0.12]
    assert times.end() == pytest.approx(0.16)
    decoding = [1.0, 1.3, 1.1]
    assert video.Times([1.1, None, 1.0], 0.0, 1.0, decoding).known() == pytest.approx([0, 0.1, 0.3])
    assert video.Times([9.0, 1.0, 2.0], 0.0, 1.0, decoding).known() == pytest.approx([0, 0.1, 0.3])
    assert video.Times([None, None]).known() == pytest.approx([0, 0.04])
    assert video.Times([None]).known().tolist() == [0]


def test_frames_that_an_avi_drops_leave_the_others_in_their_time() -> None:
    """Some recorders write a VOP of MPEG-4 that is not coded where nothing changed: no frame is decoded of it."""
    data = bytearray(clip(2.75, format="avi", codecs=("mpeg4", "libmp3lame")))
    at = [found.end() for found in re.finditer(b"00dc", bytes(data))]
    for place in at[20:40]:
        length = int.from_bytes(data[place : place + 4], "little")
        data[place + 4 : place + 4 + length] = bytes.fromhex("000001b65041").ljust(length, b"\0")
    times = video.times(bytes(data), "a.avi", outlined=True)
    assert len(times.seconds) == 80
    gaps = np.diff(times.known())
    assert gaps[1:] == pytest.approx([0.84 if number == np.argmax(gaps) else 0.04 for number in range(1, 79)])
    assert seen_and_heard(bytes(data), "a.avi") == (5, 5)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_frames_that_leave_the_decoder_late_have_the_times_of_their_turns(behind: int) -> None:
    turns = [0.04 * number for number in (0, 1, 2, 5, 6, 7, 8)]
    leaving = [*(time + 0.04 * behind for time in turns[: 7 - behind]), *[None] * behind]
    assert video._turns(leaving, behind) == pytest.approx(turns)
    assert video._turns([None], behind) == []


def test_random_windows_are_drawn_in_training_and_the_middle_one_is_evaluated(plain: bytes) -> None:
    dataset, arrays = stored(plain, clip={"start": "random", "seconds": 2.0, "windows": 5})
    _, middle = stored(plain, clip={"start": "middle", "seconds": 2.0})
    assert all(same(dataset.inputs(arrays, False), dataset.inputs(arrays, False)) for _ in range(3))
    assert same({name: array[2] for name, array in arrays.items()}, middle)
    found = set()
    for seed in range(24):
        torch.manual_seed(seed)
        drawn = steps(dataset.inputs(arrays, True))
        torch.manual_seed(seed)
        assert steps(dataset.inputs(arrays, True)) == drawn
        found.add(drawn)
    # The windows start at 0, 0.5, 1, 1.5 and 2 s; the first one ends before the event.
    assert {(0, 0), (2, 2), (4, 4), (6, 6)} <= found


def test_what_is_measured_of_random_windows_is_of_all_of_them(plain: bytes) -> None:
    options = {"clip": {"start": "random", "seconds": 2.0}, "standardize": "split", "align": "clip"}
    dataset, arrays = stored(plain, **options)
    settings = dataset.measure([arrays])
    assert settings["audio_mean"] == pytest.approx(arrays["audio"].mean((0, 1, 3), dtype=np.float64))


def test_a_window_outside_of_the_clip_is_refused_and_one_across_its_end_noted(plain: bytes) -> None:
    for name, start in (("a.mp4#t=7.0,8.0", 0.0), ("a.mp4", 7.0)):
        with pytest.raises(BadFileError, match=r"^a\.mp4: .* before 7 s; correct the window"):
            stored(plain, name, clip={"start": start, "seconds": 1.0})
    cell = {"bytes": plain, "path": "a.mp4#t=3.0,5.0"}
    dataset = AVFolder(AVFolder.Config(classes=("a", "b"), sample_rate=16_000), ModelConfig(image_size=16))
    with pytest.warns(RepairedFileWarning, match="shorter than the window"):
        dataset.transform({"audio": [cell], "visual": [cell]})


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        ({"start": "middle"}, "needs the duration"),
        ({"start": -1.0}, "greater than or equal to 0"),
        ({"start": "random", "seconds": 1.0, "windows": 4}, "odd number"),
        ({"seconds": 0.0}, "greater than 0"),
    ],
)
def test_a_window_that_cannot_be(clip: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AVFolder.Config(clip=clip)


def test_columns_need_a_table() -> None:
    with pytest.raises(ValueError, match="names columns of a table, but root is set"):
        AVFolder.Config(root="x", clip={"start": "from", "seconds": 1.0})
    with pytest.raises(UserError, match="'from' names a column, but the data set has no table"):
        CremaD(CremaD.Config(clip={"start": "from", "seconds": 1.0}), ModelConfig())


def merged(parts: Sequence[bytes], default: int) -> bytes:
    """A file with all the streams of others, those of one of them marked as default."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as target:
        sources = [av.open(io.BytesIO(part)) for part in parts]
        streams = {}
        for number, source in enumerate(sources):
            for stream in source.streams:
                copied = target.add_stream_from_template(stream)
                copied.disposition = Disposition.default if number == default else Disposition.dub
                streams[stream] = copied
        packets = [packet for source in sources for packet in source.demux() if packet.dts is not None]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = streams[packet.stream]
            target.mux(packet)
        for source in sources:
            source.close()
    return buffer.getvalue()


def test_of_several_streams_the_default_one_is_read_unless_others_are_chosen(plain: bytes) -> None:
    data = merged([clip(0.75), plain], default=1)
    assert seen_and_heard(data, "a.mkv") == (4, 4)
    assert seen_and_heard(data, "a.mkv", audio_stream=0) == (4, 1)
    assert seen_and_heard(data, "a.mkv", video_stream=0, audio_stream=1) == (1, 4)
    for kind in ("audio", "video"):
        with pytest.raises(BadFileError, match=f"has 2 {kind} streams, .* lower dataset.{kind}_stream"):
            stored(data, "a.mkv", **{f"{kind}_stream": 2})


def test_what_is_missing_is_said(tmp_path: Path, plain: bytes) -> None:
    silent, blind = io.BytesIO(), io.BytesIO()
    for buffer, kind in ((silent, "video"), (blind, "audio")):
        with av.open(io.BytesIO(plain)) as source, av.open(buffer, "w", format="mp4") as target:
            (stream,) = getattr(source.streams, kind)
            copied = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copied
                    target.mux(packet)
    with pytest.raises(BadFileError, match="holds no sound"):
        stored(silent.getvalue())
    with pytest.raises(BadFileError, match="holds no video"):
        stored(blind.getvalue())


def test_a_window_deep_in_a_file_is_read_without_what_is_before(monkeypatch: pytest.MonkeyPatch) -> None:
    data = clip(32.1, times=even(10, seconds=40), sound=(0, 40), rate=Fraction(10))
    _, near = stored(data, clip={"start": 31.0, "seconds": 2.0})
    monkeypatch.setattr(container, "INDEXED", ())
    dataset, all_of_it = stored(data, clip={"start": 31.0, "seconds": 2.0})
    assert np.array_equal(near["visual"], all_of_it["visual"])
    assert near["audio"] == pytest.approx(all_of_it["audio"], abs=0.02)
    assert steps(dataset.inputs(near, False)) == (4, 4)


def test_the_slices_of_sound_are_consecutive(plain: bytes) -> None:
    dataset, arrays = stored(plain, standardize="none")
    slices = dataset.inputs(arrays, False)["audio"]
    assert slices.shape == (STEPS, 1, 16, 16)
    assert np.array_equal(np.concatenate(list(slices), axis=2), arrays["audio"])
    assert len({frame.tobytes() for frame in arrays["visual"]}) > 1


def test_sound_and_still_picture_in_steps(tmp_path: Path, plain: bytes) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    cells = {
        "audio": [{"bytes": plain, "path": "a.mp4"}],
        "visual": [{"bytes": picture.getvalue(), "path": "a.png"}],
    }
    config = AVFolder.Config(
        classes=("a", "b"), sample_rate=16_000, align="step", clip={"start": "random", "seconds": 1}
    )
    dataset = AVFolder(config, ModelConfig(steps=STEPS, image_size=16))
    inputs = dataset.inputs({name: arrays[0] for name, arrays in dataset.transform(cells).items()}, True)
    assert inputs["audio"].shape == (STEPS, 1, 16, 16)
    assert inputs["visual"].shape == (3, 16, 16)


needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")


def ffmpeg(folder: Path, *options: str) -> np.ndarray:
    """What ffmpeg writes to its standard output."""
    command = ["ffmpeg", "-v", "error", "-y", *options]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True, cwd=folder).stdout, np.uint8)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        *(
            ("m4a", "aac"),
            ("aac", "aac"),
            ("ac3", "ac3"),
            ("wma", "wmav2"),
            ("mp4", "libopus"),
            ("mp3", "libmp3lame"),
        ),
        *(("mpg", "mp2"), ("webm", "libopus")),
    ],
)
def test_the_samples_are_ffmpegs(tmp_path: Path, ending: str, codec: str) -> None:
    path, rate = tmp_path / f"a.{ending}", 48_000 if codec == "libopus" else 44_100
    source = f"aevalsrc=0.4*sin(400*t*t)|0.2*sin(3000*t):s={rate}:d=1.5"
    header = ["-write_xing", "0"] if ending == "mp3" else []
    ffmpeg(tmp_path, "-f", "lavfi", "-i", source, "-c:a", codec, *header, path.name)
    expected = ffmpeg(tmp_path, "-i", path.name, "-f", "f32le", "-").view(np.float32).reshape(-1, 2).mean(1)
    with pytest.warns(RepairedFileWarning, match="2 channels"):
        samples, found = audio.decode(path, path)
    assert found == rate
    assert len(samples) == pytest.approx(len(expected), abs=0.05 * rate)
    length = min(len(samples), len(expected))
    assert np.abs(samples[:length] - expected[:length]).max() < 1e-4


@needs_ffmpeg
@pytest.mark.parametrize("turned", [False, True])
def test_the_frames_are_ffmpegs(tmp_path: Path, turned: bool) -> None:
    path = tmp_path / "a.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=30000/1001:duration=2", "-pix_fmt", "yuv420p"]
    ffmpeg(tmp_path, *source, "-c:v", "mpeg4", "plain.mp4")
    data = bytearray((tmp_path / "plain.mp4").read_bytes())
    if turned:  # by the display matrix of the track, in 16.16 bits
        place = data.find(b"tkhd") + 44
        data[place : place + 20] = np.array([0, 1 << 16, 0, -1 << 16, 0], ">i4").tobytes()
    path.write_bytes(data)
    times = video.times(path, path).known()
    assert len(times) == 60
    for index in (0, 17, 59):
        (picture,) = video.frames(path, path, [index]).values()
        shape = (64, 48, 3) if turned else (48, 64, 3)
        at = f"{max(0.0, times[index] - 0.001):.4f}"
        raw = ffmpeg(
            tmp_path, "-ss", at, "-i", path.name, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
        )
        assert np.abs(picture.astype(int) - raw.reshape(shape)).max() <= 2


@pytest.mark.skipif(not (REAL / "real").is_dir(), reason="no recordings here")
@pytest.mark.parametrize("kind", ["grid", "crema-d"])
def test_real_clips(kind: str) -> None:
    paths = sorted((REAL / "real" / kind).rglob("*.mpg" if kind == "grid" else "*.flv"))
    assert len(paths) == 3
    for path in paths:
        dataset, arrays = stored(path.read_bytes(), str(path))
        inputs = dataset.inputs(arrays, False)
        assert inputs["audio"].shape == (STEPS, 1, 16, 16)
        assert inputs["visual"].shape == (STEPS, 3, 16, 16)
        # A face that moves a little, and words with silence around them.
        assert 0 < np.abs(np.diff(inputs["visual"], axis=0)).mean() < 0.1
        if kind == "crema-d":
            (wav,) = path.parents[1].glob(f"AudioWAV/{path.stem}.wav")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RepairedFileWarning)
                same_sound = dataset.front_end.decode(wav, str(wav))
            assert np.corrcoef(same_sound.ravel(), arrays["audio"].ravel())[0, 1] > 0.9
