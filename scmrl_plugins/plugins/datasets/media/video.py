"""Video files to frames."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import cut_off
from scmrl_plugins.plugins.datasets.media.container import chosen, complete, go_near, opened_container, start_of

if TYPE_CHECKING:
    import av

LONGEST = 600.0
"""Seconds of a video at most, unless ``dataset.longest_video`` says otherwise."""
MOST = 1 << 17
"""Frames of a video at most."""
ROUNDING = 0.002
"""Seconds by which the times of frames may be rounded."""
TURN = 0.02
"""Sine of the largest angle, about a degree, by which a display matrix may differ from a right angle."""
SLACK = 0.5
"""Seconds that a complete video may end before the end in its header, which is not exact."""
DISORDER = 0.5
"""Seconds by which the time stamp of a frame may be before that of the previous one, as in some mpg files."""
BEHIND = 2.0
"""Seconds that a frame may be decoded before it is shown."""
SIDE = 16
"""Blocks in a row and in a column of the outline of a frame."""
BLACK = 12
"""Grey level of the brightest block of a black frame at most."""
LARGEST = 1 << 26
"""Most pixels of a plausible frame, twice those of 8K; a header with more is damaged."""


def decode(
    source: bytes | Path,
    name: str | Path,
    count: int,
    longest: float = LONGEST,
    each: Callable[[np.ndarray], np.ndarray] = np.asarray,
    number: int | None = None,
) -> list[np.ndarray]:
    """What ``each`` makes of ``count`` frames, RGB uint8 ``[H, W, 3]``, from the middles of as many equal parts.

    The parts are of time: the frame that is shown then.

    Reads mp4, mov, mkv, webm, flv, avi and mpg as FFmpeg does, turned and mirrored as the display matrix says; a
    video with fewer frames repeats some. Every frame is decoded once to know its time and check it, then again up
    to the last requested one, so that one frame at a time is in memory. ``number``: which video of the file, see
    ``container.chosen``. Raises ``BadFileError``, naming ``name``, for a file that cannot be decoded, is cut off
    or damaged as far as its format can tell, has no frames, lasts more than ``longest`` seconds, or has more than
    ``MOST`` frames.
    """
    found = times(source, name, longest, number)
    indices = shown(found.seconds, found.last, count)
    pictures = frames(source, name, indices, each, number)
    return [pictures[index] for index in indices]


@dataclass
class Times:
    """When the frames of a video are shown, by the time stamps of its file."""

    seconds: list[float | None] = field(default_factory=list)
    """Of each frame; none where the file does not tell."""
    last: float = 0.0
    """Duration of the last frame in seconds, 0 if unknown."""
    origin: float = 0.0
    """The start of the file: that of its earliest stream."""
    decoding: list[float] = field(default_factory=list)
    """Of each frame: when its turn is by the times of decoding, where the file tells those."""
    pictures: dict[int, np.ndarray] = field(default_factory=dict)
    """Frames that were kept, by their index."""
    outlines: list[np.ndarray] = field(default_factory=list)
    """Of each frame, where asked for: the mean grey levels of ``SIDE x SIDE`` equal blocks, uint8, not turned."""

    def known(self) -> np.ndarray:
        """Seconds from the start of the file at which each frame is shown, ``[n]``, not decreasing.

        Where the file does not tell them, or tells impossible ones, frames are shown in their turns by the times
        of decoding, or else 25 a second.
        """
        total = len(self.seconds)
        times = np.array([np.nan if time is None else time for time in self.seconds])
        possible = (np.diff(times) > -DISORDER).all() and (total == 1 or times[0] < times[-1])
        if not possible or np.isnan(times).any():
            times = np.array(self.decoding) if self.decoding else np.arange(total) / 25.0 + self.origin
        return np.sort(times) - self.origin

    def end(self) -> float:
        """Seconds from the start of the file to the end of the last frame."""
        times = self.known()
        gap = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
        return float(times[-1] + (self.last or gap))


def expected_times(
    source: bytes | Path, name: str | Path, number: int | None = None, span: tuple[float, float] = (0.0, math.inf)
) -> Times:
    """What ``times`` will find, from the packets alone: nothing is decoded or checked, and more may be listed."""
    found = Times()
    shown: list[tuple[int, int]] = []
    with complete(source, name, "video") as stream, opened_container(stream) as container:
        video = _video(container, name, number)
        found.origin = start_of(container)
        go_near(container, video, span[0])
        for packet in container.demux(video):
            if not packet.size or packet.is_discard:
                continue
            if packet.dts is not None:
                found.decoding.append(float(packet.dts * packet.time_base))
            if packet.pts is not None and container.format.name != "avi":
                shown.append((packet.pts, packet.duration or 0))
            if found.decoding and found.decoding[-1] - found.origin > span[1] + BEHIND:
                break
        base = float(video.time_base)
    found.seconds = [time * base for time, _ in sorted(shown)] or [None for _ in found.decoding]
    found.last = max(shown, default=(0, 0))[1] * base
    return found


def times(
    source: bytes | Path,
    name: str | Path,
    longest: float = LONGEST,
    number: int | None = None,
    span: tuple[float, float] = (0.0, math.inf),
    keep: Collection[int] = (),
    each: Callable[[np.ndarray], np.ndarray] = np.asarray,
    *,
    outlined: bool = False,
) -> Times:
    """When the frames of a video are shown: those within ``span``, in seconds from the file's start, and others.

    Every one of them is decoded and checked; what ``each`` makes of those with the indices ``keep`` is kept, and
    the outlines of all, if they are to be ``outlined``. Raises as ``decode``.
    """
    from av.video.reformatter import VideoReformatter

    found, smaller = Times(), VideoReformatter()
    leaving: list[float | None] = []
    with (
        complete(source, name, "video") as stream,
        contextlib.closing(_frames(stream, name, number, span[0], found)) as read,
    ):
        for frame, lasting in read:
            time = frame.time or 0.0
            found.seconds.append(None if lasting is None else frame.time)
            found.last = lasting or 0.0
            leaving.append(None if frame.dts is None else float(frame.dts * (frame.time_base or 0)))
            if (index := len(found.seconds) - 1) in keep:
                found.pictures[index] = each(_upright(frame, name))
            if outlined:
                small = smaller.reformat(frame, SIDE, SIDE, "gray", interpolation="AREA")
                found.outlines.append(small.to_ndarray())
            start = max(found.seconds[0] or 0.0, found.origin + span[0])
            if time - start > longest or len(found.seconds) > MOST:
                raise BadFileError(
                    name,
                    f"lasts more than {longest:g} s or {MOST:,} frames; cut it, or raise dataset.longest_video",
                )
            if lasting is not None and time - found.origin > span[1]:
                break
    if not found.seconds:
        raise BadFileError(name, "the video holds no frames; copy it again or leave it out")
    found.decoding = _turns(leaving, len(found.decoding) - 1) if found.decoding else []
    return found


def _turns(leaving: Sequence[float | None], behind: int) -> list[float]:
    """When the turn of each frame is, by the times of decoding of the packets that frames leave the decoder with.

    A decoder that puts frames in order keeps as many as there were packets before the first frame left,
    ``behind``; the last frames leave it without a packet. Packets that no frame leaves with are frames that were
    dropped, where the one before is shown longer.
    """
    known = [time for time in leaving if time is not None]
    steps = np.diff(known)
    gap = float(min(steps[steps > 0], default=1 / 25.0))
    turns: list[float] = []
    for time in leaving if known else ():
        turns.append(turns[-1] + gap if time is None and turns else (time or known[0]) - behind * gap)
    return turns


def frames(
    source: bytes | Path,
    name: str | Path,
    indices: Collection[int],
    each: Callable[[np.ndarray], np.ndarray] = np.asarray,
    number: int | None = None,
    start: float = 0.0,
) -> dict[int, np.ndarray]:
    """What ``each`` makes of some of the frames that ``times`` lists from the same ``start``, by their index."""
    with (
        complete(source, name, "video") as stream,
        contextlib.closing(_frames(stream, name, number, start, Times())) as read,
    ):
        numbered = zip(range(max(indices) + 1), read, strict=False)
        return {index: each(_upright(frame, name)) for index, (frame, _) in numbered if index in indices}


def shown(times: Sequence[float | None], duration: float, count: int) -> list[int]:
    """The frames that are shown in the middles of ``count`` equal parts of a video.

    By the times of all frames and the duration of the last one, both in seconds; a duration of 0 is unknown, and
    taken to be the mean of the others. At a constant rate, but for rounded times, and where times are unknown or
    out of order, frames are counted: all are shown equally long.
    """
    total = len(times)
    known = np.array([np.nan if time is None else time for time in times])
    steps = np.diff(known)
    gap = steps.mean() if total > 1 else 0.0
    even = np.abs(known - known[0] - gap * np.arange(total)).max() < ROUNDING
    if not (steps >= 0).all() or not gap or (even and abs((duration or gap) - gap) < ROUNDING):
        return [(2 * part + 1) * total // (2 * count) for part in range(count)]
    lasts = known[-1] - known[0] + (duration or gap)
    middles = known[0] + lasts * (2 * np.arange(count) + 1) / (2 * count)
    return (np.searchsorted(known, middles, side="right") - 1).tolist()


def _upright(frame: Any, name: str | Path) -> np.ndarray:
    """A frame as its display matrix shows it: pixel (x, y) goes to (a x + c y, b x + d y), apart from a shift."""
    picture = frame.to_ndarray(format="rgb24")
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5] / 65536.0
    kept, swapped = np.hypot(a, d), np.hypot(b, c)
    if min(kept, swapped) > TURN * max(kept, swapped):
        raise BadFileError(name, "the video is turned by other than a right angle; convert it")
    across, down = (a, d) if kept > swapped else (c, b)
    if swapped > kept:
        picture = picture.swapaxes(0, 1)
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _video(container: Any, name: str | Path, number: int | None) -> Any:
    """A stream of video in a container."""
    from av.stream import Disposition

    # The cover of a song is a stream, too.
    videos = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not videos:
        raise BadFileError(name, "the file holds no video, though it may hold sound; copy it again")
    video = chosen(videos, number, name, "video")
    if video.codec_context is None:
        raise BadFileError(name, "the video is of an unknown codec; convert it or copy it again")
    return video


def _frames(
    stream: BinaryIO, name: str | Path, number: int | None, start: float, found: Times
) -> Generator[tuple[av.VideoFrame, float | None], None, None]:
    """The frames of a video in display order, each with its duration in seconds, 0 if unknown.

    The duration is none where the file does not tell a frame's time, as in avi, for which FFmpeg guesses it.
    Frames long before ``start`` are left out where the format allows. The origin, and when the packets are decoded
    before the first frame comes, go to ``found``.
    """
    import av

    with opened_container(stream) as container:
        video = _video(container, name, number)
        # Several threads decode a damaged video differently each time.
        video.codec_context.thread_count = 1
        video.codec_context.options = {"max_pixels": str(LARGEST)}
        found.origin = start_of(container)
        go_near(container, video, start)
        end, started = 0.0, False
        durations: dict[int | None, float] = {}
        for packet in container.demux():
            if packet.is_corrupt:
                raise BadFileError(name, f"the video is cut off or damaged after {end:.2f} s; copy it again")
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is video:
                if packet.size and packet.dts is not None and not packet.is_discard and not started:
                    found.decoding.append(float(packet.dts * packet.time_base))
                if packet.pts is not None:
                    durations[packet.pts] = float((packet.duration or 0) * packet.time_base)
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise BadFileError(name, f"the video is damaged near {end:.2f} s; copy it again")
                    started = True
                    timed = frame.pts is not None and container.format.name != "avi"
                    yield frame, durations.pop(frame.pts, 0.0) if timed else None
        promised = (container.duration or 0) / av.time_base
        last = float(1 / video.average_rate) if video.average_rate else 0.0
        early = container.format.name == "flv" and (not promised or end + last < promised)
        if early and cut_off.lacks_tag(stream):
            raise BadFileError(name, f"the video is cut off after {end:.2f} s; copy it again")
        if end + last + SLACK < promised:
            raise BadFileError(
                name, f"the video is cut off, {end:.2f} s of {promised:.2f} s are there; copy it again"
            )
