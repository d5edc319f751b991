from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import REAL
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.media import aedat
from scmrl_plugins.plugins.datasets.media.events import MOST, Events, steps_of, to_frames
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.plugins.datasets.miniatures.mnistdvs_ntidigits import SPEAKERS, heard, seen, write_ntidigits
from scmrl_plugins.plugins.datasets.sources import ntidigits

TIMES = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=60).map(sorted)


@st.composite
def streams(draw: st.DrawFn, side: int = 128) -> Events:
    """Events of one moment after the other, anywhere on a sensor of two channels."""
    time = draw(TIMES)
    point = st.tuples(st.integers(0, 1), st.integers(0, side - 1), st.integers(0, side - 1))
    points = draw(st.lists(point, min_size=len(time), max_size=len(time)))
    return Events(np.array(time), *np.array(points).T)


def counted(events: Events, steps: list[int], shape: tuple[int, ...]) -> np.ndarray:
    frames = np.zeros(shape, dtype=int)
    for step, channel, row, column in zip(steps, *(values.tolist() for values in events[1:]), strict=True):
        frames[step, channel, row, column] += 1
    return frames


@given(streams(side=5), st.integers(1, 9))
def test_bins_of_equal_duration_agree_with_a_count_by_hand(events: Events, steps: int) -> None:
    time = [int(moment) for moment in events.time]
    length = Fraction(max(time[-1] - time[0], 1), steps)
    ends = [time[0] + length * number for number in range(1, steps)]
    step = [sum(end <= moment for end in ends) for moment in time]
    frames = to_frames(events, steps, "time", (2, 5, 5))
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, counted(events, step, (steps, 2, 5, 5)))


@pytest.mark.slow
@given(streams(side=5), st.integers(1, 9))
def test_bins_of_equal_count_agree_with_a_count_by_hand(events: Events, steps: int) -> None:
    ends = [Fraction(len(events.time) * number, steps) for number in range(1, steps)]
    step = [sum(end <= number for end in ends) for number in range(len(events.time))]
    frames = to_frames(events, steps, "count", (2, 5, 5))
    np.testing.assert_array_equal(frames, counted(events, step, (steps, 2, 5, 5)))
    held = frames.sum((1, 2, 3))
    assert held.max() - held.min() <= 1


def test_bins_in_the_small() -> None:
    assert steps_of(np.array([100, 149, 150, 199, 200]), 2, "time").tolist() == [0, 0, 1, 1, 1]
    assert steps_of(np.array([100, 101, 102, 900]), 2, "count").tolist() == [0, 0, 1, 1]
    assert steps_of(np.array([7]), 4, "time").tolist() == [0]
    assert steps_of(np.array([7, 7]), 4, "time").tolist() == [0, 0]  # no time passes
    assert steps_of(np.array([0, 2**32 - 1]), 1024, "time").tolist() == [0, 1023]


@pytest.mark.slow
@given(streams(side=12), st.integers(1, 12))
def test_the_middle_is_what_a_slice_of_the_frames_is(events: Events, size: int) -> None:
    frames = counted(events, [0] * len(events.time), (1, 2, 12, 12))
    middle = events.middle(12, size)
    start = (12 - size) // 2
    np.testing.assert_array_equal(
        counted(middle, [0] * len(middle.time), (1, 2, size, size)),
        frames[..., start : start + size, start : start + size],
    )


def test_stacks_are_resized_as_each_of_their_frames() -> None:
    frames = np.random.default_rng(0).random((3, 2, 40, 30))
    stack = resize(frames, 28)
    assert stack.shape == (3, 2, 28, 28)
    np.testing.assert_allclose(stack[2, 1], resize(frames[2, 1], 28), rtol=1e-6)


# --- AEDAT


@pytest.mark.slow
@given(streams())
def test_aedat_round_trip(events: Events) -> None:
    for written, read in zip(events, aedat.decode(aedat.encode(events), "x"), strict=True):
        np.testing.assert_array_equal(read, written)


def test_the_bits_of_an_address() -> None:
    """As jAER's Java and MATLAB and MNIST-DVS's dat2mat.m: x mirrored, y from below, a set bit 0 is darker."""
    header = b"#!AER-DAT2.0\r\n# made by hand\r\n"
    pairs = [(1, 5), (2 * 3, 9), (256 * 10 + 2 * 127 + 1, 9), (0x7FFE, 1000)]
    events = aedat.decode(header + np.array(pairs, dtype=">u4").tobytes(), "x")
    assert [values.tolist() for values in events] == [
        [5, 9, 9, 1000],
        [0, 1, 0, 1],
        [127, 127, 117, 0],
        [127, 124, 0, 0],
    ]


def test_addresses_of_16_bits() -> None:
    records = np.array([(35 * 256 + 1, 3), (2 * 3, 9)], dtype=aedat.RECORDS[b"1.0"])
    assert records.tobytes().startswith(b"#")  # an event that looks like a line of the header
    events = aedat.decode(b"#!AER-DAT1.0\r\n" + records.tobytes(), "x")
    assert [values.tolist() for values in events] == [[3, 9], [0, 1], [92, 127], [127, 124]]


def test_it_agrees_with_tonic(tmp_path: Path) -> None:
    from tonic import io as tonic

    path = tmp_path / "mnist_3_scale04_0001.aedat"
    path.write_bytes(aedat.encode(seen(3, 1)))
    version, start, _ = tonic.read_aedat_header_from_file(path)
    theirs, ours = tonic.get_aer_events_from_file(path, version, start), aedat.decode(path, path)
    np.testing.assert_array_equal(ours.time, theirs["timeStamp"])
    np.testing.assert_array_equal(ours.column, 127 - (theirs["address"] >> 1 & 0x7F))
    np.testing.assert_array_equal(ours.row, 127 - (theirs["address"] >> 8 & 0x7F))
    np.testing.assert_array_equal(ours.channel, 1 - (theirs["address"] & 1))


def records(*pairs: tuple[int, int], header: bytes = b"#!AER-DAT2.0\r\n") -> bytes:
    return header + np.array(pairs, dtype=">u4").reshape(-1, 2).tobytes()


@pytest.mark.skipif(not (REAL / "real" / "mnist-dvs").is_dir(), reason="no recordings here")
def test_a_real_recording_shows_an_upright_zero() -> None:
    """An ellipse that leans to the right: longer from below left to above right than across."""
    (path,) = (REAL / "real" / "mnist-dvs").glob("*.aedat")
    events = aedat.decode(path, path)
    for start in np.linspace(events.time[0], events.time[-1], 8, endpoint=False):
        moment = (events.time >= start) & (events.time < start + 60_000)
        row, column = events.row[moment], events.column[moment]
        seen = (np.abs(row - np.median(row)) < 20) & (np.abs(column - np.median(column)) < 20)  # else noise
        up, right = -row[seen], column[seen]
        along, across = (np.ptp(np.percentile(values, [3, 97])) for values in (up + right, up - right))
        assert along > across + 2


def test_signals_of_the_external_input_are_left_out() -> None:
    with pytest.warns(RepairedFileWarning, match="x: 2 signals of the external input, left out"):
        events = aedat.decode(records((0x8000, 1), (2, 5), (0x8002, 7)), "x")
    assert events.time.tolist() == [5]


BAD_AEDAT = {
    "empty": (b"", "is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer"),
    "no header": (records((2, 1), header=b""), "has no AEDAT header"),
    "a web page": (b"<html>404</html>", "has no AEDAT header"),
    "cut in the header": (b"#!AER-DAT2.0", "has no AEDAT header"),
    "no version": (records((2, 1), header=b"# recorded\r\n"), "no line #!AER-DAT2.0"),
    "a later format": (records((2, 1), header=b"#!AER-DAT3.1\r\n"), "is AEDAT 3.1, and 1.0 or 2.0 is read"),
    "cut off": (records((2, 1), (2, 2))[:-3], "cut off within an event, 3 bytes are missing"),
    "no events": (records(), "holds no events"),
    "no pixel's events": (records((0x8000, 1)), "holds no events"),
    "disorder": (
        records((2, 10), (2, 30), (2, 20), (2, 5)),
        "2 events are out of order in time, first event 2, 10 us before the one it follows",
    ),
    "clock": (records((2, 2**32 - 5), (2, 3)), "clock of 32 bits starts anew"),
    "too many": (records() + bytes(8 * (MOST + 1)), "has 10,000,001 events, and at most 10,000,000 are read"),
    "out of the sensor": (
        records((2, 1), (0x10002, 2)),
        "1 events are out of the 128x128 sensor, first event 1 of address 0x10002",
    ),
}


@pytest.mark.parametrize("kind", BAD_AEDAT)
def test_bad_aedat_is_refused_with_path_and_remedy(tmp_path: Path, kind: str) -> None:
    data, reason = BAD_AEDAT[kind]
    path = tmp_path / "mnist_0_scale04_0001.aedat"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairedFileWarning)
        with pytest.raises(BadFileError) as caught:
            aedat.decode(path, path)
    assert caught.value.path == str(path)
    assert reason in caught.value.reason
    assert ";" in caught.value.reason
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_a_bad_file(data: bytes) -> None:
    for head in (b"", b"#!AER-DAT2.0\r\n", b"#!AER-DAT1.0\r\n"):
        with warnings.catch_warnings(), contextlib.suppress(BadFileError):
            warnings.simplefilter("ignore", RepairedFileWarning)
            events = aedat.decode(head + data, "x")
            assert len(events.time) > 0
            assert all(((values >= 0) & (values < 128)).all() for values in events[2:])


# --- N-TIDIGITS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_ntidigits(tmp_path / "n-tidigits.hdf5")
    return tmp_path / "n-tidigits.hdf5"


def test_single_digits_are_found_and_strings_of_digits_passed_over(file: Path) -> None:
    bad: list[BadFileError] = []
    found = ntidigits.find_recordings(file, bad)
    assert not bad
    for part, speakers in SPEAKERS.items():
        assert {recording.speaker for recording in found[part]} == set(speakers)
        assert len(found[part]) == 11 * len(speakers)
        for recording in found[part]:
            spoken = str(recording.path).rpartition("-")[2]
            assert recording.digit == (0 if spoken in "oz" else int(spoken))


def test_a_recording_is_read_as_it_was_written(file: Path) -> None:
    name = f"{file}#test/man-im-a-7"
    with h5py.File(file) as data:
        labels = [label.decode() for label in data["test_labels"][:]]
    time, channel = heard("7", labels.index("man-im-a-7"))
    events = ntidigits.decode(Path(name), name)
    np.testing.assert_allclose(events.time / 1e6, time, atol=5e-7)
    np.testing.assert_array_equal(8 * events.row + events.column, channel)
    assert not events.channel.any()
    in_memory = ntidigits.decode(file.read_bytes(), name)
    np.testing.assert_array_equal(in_memory.time, events.time)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 63), min_size=1, max_size=50))
def test_the_cochlea_is_viewed_as_the_paper_views_it(channels: list[int]) -> None:
    """S-CMRL: 64 channels seen as 8 x 8, brought bilinearly to 28 x 28 without aligned corners."""
    channel = np.array(channels)
    zeros = np.zeros_like(channel)
    frames = to_frames(Events(np.arange(len(channel)), zeros, channel // 8, channel % 8), 1, "time", (1, 8, 8))
    counts = torch.from_numpy(np.bincount(channel, minlength=64)).float().view(1, 1, 8, 8)
    expected = F.interpolate(counts, size=(28, 28), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resize(frames, 28), expected.numpy(), atol=1e-5)


Spoil = Callable[[h5py.File], None]
PLACE = "train_timestamps/man-ae-a-7", "train_addresses/man-ae-a-7"


def put(place: int, values: object) -> Spoil:
    def spoil(file: h5py.File) -> None:
        del file[PLACE[place]]
        file[PLACE[place]] = np.array(values)

    return spoil


def change(place: int, event: int, value: float) -> Spoil:
    def spoil(file: h5py.File) -> None:
        file[PLACE[place]][event] = value

    return spoil


def nothing(file: h5py.File) -> None:
    put(0, np.zeros(0))(file)
    put(1, np.zeros(0))(file)


def create(place: int, **array: object) -> Spoil:
    def spoil(file: h5py.File) -> None:
        del file[PLACE[place]]
        file.create_dataset(PLACE[place], **array)

    return spoil


def link(place: int, kind: Callable[[h5py.File], object]) -> Spoil:
    def spoil(file: h5py.File) -> None:
        target = kind(file)
        del file[PLACE[place]]
        file[PLACE[place]] = target

    return spoil


def elsewhere(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(100,), dtype="f8")
    layout[:] = h5py.VirtualSource("/other.hdf5", "times", shape=(100,))
    del file[PLACE[0]]
    file.create_virtual_dataset(PLACE[0], layout)


BAD_RECORDINGS: dict[str, tuple[Spoil, str]] = {
    "lengths": (put(0, np.zeros(3)), "has 3 times and 100 addresses"),
    "nothing": (nothing, "holds no events"),
    "nan": (change(0, 4, np.nan), "1 times that are no seconds of a recording, first event 4 with nan"),
    "infinity": (change(0, 4, np.inf), "first event 4 with inf"),
    "negative": (change(0, 0, -0.5), "first event 0 with -0.5"),
    "microseconds": (put(0, np.linspace(0, 1e6, 100)), "times that are no seconds of a recording"),
    "disorder": (change(0, 50, 0.0), "out of order in time, first event 50"),
    "no channel": (
        change(1, 9, 64),
        "1 addresses of no cochlea channel, which are 0 to 63, first event 9 with 64",
    ),
    "below": (change(1, 9, -1), "first event 9 with -1"),
    "broken channel": (put(1, np.full(100, 2.5)), "first event 0 with 2.5"),
    "text": (put(0, b"text"), "is no list of numbers"),
    "null": (create(0, data=h5py.Empty("f8")), "is no list of numbers"),
    "sparse": (
        create(0, shape=(10**12,), dtype="f8", chunks=(1 << 20,)),
        "an array has 1,000,000,000,000 values, and at most 10,000,000 are read",
    ),
    "sparse chunk": (
        create(1, shape=(100,), maxshape=(None,), dtype="f8", chunks=(1 << 28,)),
        "an array has 268,435,456 values",
    ),
    "external link": (
        link(0, lambda file: h5py.ExternalLink("/other.hdf5", "/times")),
        "its man-ae-a-7 is a link to elsewhere, which is not followed",
    ),
    "soft link": (link(0, lambda file: h5py.SoftLink("/ext/times")), "is a link to elsewhere"),
    "external values": (
        create(1, shape=(100,), dtype="i8", external=[("/etc/passwd", 0, 800)]),
        "the values of man-ae-a-7 are in another file, which is not read",
    ),
    "virtual values": (elsewhere, "the values of man-ae-a-7 are in another file"),
    "table": (put(1, np.zeros((100, 2))), "is no list of numbers"),
}


@pytest.mark.parametrize("kind", BAD_RECORDINGS)
def test_bad_recordings_are_refused_with_path_and_remedy(file: Path, kind: str) -> None:
    spoil, reason = BAD_RECORDINGS[kind]
    with h5py.File(file, "a") as data:
        spoil(data)
    bad: list[BadFileError] = []
    ntidigits.find_recordings(file, bad)
    assert not bad  # it takes reading the recording to know
    name = f"{file}#train/man-ae-a-7"
    with pytest.raises(BadFileError) as caught:
        ntidigits.decode(Path(name), name)
    assert caught.value.path == name
    assert reason in caught.value.reason
    assert ";" in caught.value.reason
    ntidigits.decode(Path(f"{file}#train/man-ae-a-8"), f"{file}#train/man-ae-a-8")  # its neighbour is well


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("man-ae-a-x", "ends in 'x', which is no o, z or 1 to 9"),
        ("man-ae-a-", "ends in ''"),
        ("man-ae-b-7", "has no array in train_timestamps"),
        ("man-ae-a-7", "is 2 times in train_labels"),
    ],
)
def test_bad_labels_are_reported(file: Path, label: str, reason: str) -> None:
    with h5py.File(file, "a") as data:
        labels = [*data["train_labels"][:], label.encode()]
        del data["train_labels"]
        data["train_labels"] = np.array(labels, dtype="S")
    bad: list[BadFileError] = []
    found = ntidigits.find_recordings(file, bad)
    assert [error.path for error in bad] == [f"{file}#train/{label}"]
    assert reason in bad[0].reason
    assert ";" in bad[0].reason
    assert Path(f"{file}#train/{label}") not in {recording.path for recording in found["train"]}


def spoil_file(kind: str, file: Path) -> None:
    if kind == "cut off":
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "text":
        file.write_text("not HDF5")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "pointer":
        file.write_bytes(BAD_AEDAT["pointer"][0])
    elif kind == "absent":
        file.unlink()
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    else:
        with h5py.File(file, "a") as data:
            if kind == "linked group":
                del data["test_timestamps"]
                data["test_timestamps"] = h5py.ExternalLink("/other.hdf5", "/")
            elif kind == "null labels":
                del data["test_labels"]
                data["test_labels"] = h5py.Empty("S9")
            elif kind == "sparse labels":
                del data["test_labels"]
                data.create_dataset("test_labels", shape=(10**12,), dtype="S9", chunks=(1 << 10,))
            else:
                del data[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut off", "not an HDF5 file that can be read"),
        ("text", "not an HDF5 file that can be read"),
        ("empty", "is empty"),
        ("pointer", "git-lfs pointer"),
        ("absent", "cannot be read"),
        ("folder", "not a file"),
        ("train_labels", "has no array train_labels"),
        ("test_timestamps", "has no group test_timestamps"),
        ("train_addresses", "has no group train_addresses"),
        ("linked group", "its test_timestamps is a link to elsewhere"),
        ("null labels", "its test_labels are no list"),
        ("sparse labels", "has 1,000,000,000,000 values"),
    ],
)
def test_a_file_that_is_not_ntidigits_is_refused(file: Path, kind: str, reason: str) -> None:
    spoil_file(kind, file)
    with pytest.raises(BadFileError) as caught:
        ntidigits.find_recordings(file, [])
    assert caught.value.path == str(file)
    assert reason in caught.value.reason
    assert ";" in caught.value.reason


@pytest.mark.parametrize("place", ["", "#", "#test", "#test/", "#dev/man-im-a-7"])
def test_a_file_without_the_name_of_a_recording(file: Path, place: str) -> None:
    with pytest.raises(BadFileError, match=r"names no recording of an HDF5 file; add one, such as"):
        ntidigits.decode(Path(f"{file}{place}"), f"{file}{place}")


def test_a_missing_recording_is_refused_with_near_matches(file: Path) -> None:
    with pytest.raises(
        BadFileError, match=r"no recording 'man-im-a-0' in test_timestamps \(did you mean 'man-im-a-"
    ):
        ntidigits.decode(Path(f"{file}#test/man-im-a-0"), f"{file}#test/man-im-a-0")
