"""Sound and video files, opened by FFmpeg's libraries: named formats only, and nothing beside the file itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import cut_off
from scmrl_plugins.plugins.datasets.media.read import opened, refused

FORMATS = (
    *("wav", "w64", "aiff", "au", "caf", "flac", "ogg", "mp3", "aac", "ac3", "eac3", "asf"),
    *("mov", "matroska", "flv", "avi", "mpeg", "mpegvideo", "mpegts"),
)
"""FFmpeg's names of the formats that are read (mov: also mp4, m4a and 3gp; asf: wma and wmv; mpegts: mts).
None of them, unlike concat and hls, names another file."""
INDEXED = ("mov", "matroska")
"""Formats with an index and exact time stamps, in which a reader can start anywhere."""
REMEDIES = {"sound file": "give a wav file", "video": "copy it again"}
"""What helps against a file of a kind that no decoder reads."""
PREROLL = 5.0
"""Seconds in front of what is wanted from where on a decoder reads: lossy sound depends on what was before it."""


@contextlib.contextmanager
def complete(source: bytes | Path, name: str | Path, kind: str) -> Iterator[BinaryIO]:
    """The bytes of a file of a kind, ``sound file`` or ``video``, that is not cut off as far as they tell.

    Raises ``BadFileError`` for one that is, and for what a decoder raises meanwhile, as ``refused``.
    """
    with opened(source, name) as stream, refused(name, f"not a {kind} that can be read", REMEDIES[kind]):
        if lacking := cut_off.missing(stream):
            raise BadFileError(name, f"the {kind} is cut off, {lacking}; copy it again")
        yield stream


@contextlib.contextmanager
def opened_container(stream: BinaryIO) -> Iterator[Any]:
    """The container in a stream, recognised by its content. Raises what PyAV raises."""
    import av

    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    # A title may be in any encoding, and is not used. From PyAV 19 on this is not to be asked for.
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        container = av.open(_Nameless(stream), options=options, **lenient)
    except av.ArgumentError as error:
        raise ValueError("of no known format") from error
    with container:
        yield container


def start_of(container: Any) -> float:
    """The time stamp in seconds at which the earliest stream of a file starts; that is the start of the file."""
    return (container.start_time or 0) / 1e6


def chosen(streams: Sequence[Any], number: int | None, name: str | Path, kind: str) -> Any:
    """The stream with this number, counted from 0; none: the default one, or the first where none is marked so."""
    from av.stream import Disposition

    if number is None:
        return next((each for each in streams if each.disposition & Disposition.default), streams[0])
    if number >= len(streams):
        raise BadFileError(
            name, f"has {len(streams)} {kind} streams, of which the first is 0; lower dataset.{kind}_stream"
        )
    return streams[number]


def go_near(container: Any, stream: Any, start: float) -> float:
    """Go to ``PREROLL`` seconds before ``start`` or earlier, where the format allows it.

    ``start`` and the result, the time in front of which nothing is read, are in seconds from the file's start.
    """
    near = start - PREROLL
    if near <= PREROLL or container.format.name.split(",")[0] not in INDEXED:
        return 0.0
    container.seek(int((near + start_of(container)) / stream.time_base), stream=stream)
    return near


class _Nameless:
    """A stream without its file's name, by whose ending FFmpeg would recognise a format."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell
