"""Sound and video files, opened by FFmpeg's libraries: named formats only, and nothing beside the file itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

FORMATS = (
    *("wav", "w64", "aiff", "au", "caf", "flac", "ogg", "mp3", "aac"),
    *("mov", "matroska", "flv", "avi", "mpeg", "mpegvideo"),
)
"""FFmpeg's names of the formats that are read (mov: also mp4 and m4a). None of them, unlike concat and hls, names
another file."""


@contextlib.contextmanager
def opened_container(stream: BinaryIO) -> Iterator[Any]:
    """The container in a stream, recognised by its content. Raises what PyAV raises."""
    import av

    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    try:
        # A title may be in any encoding, and is not used.
        container = av.open(_Nameless(stream), options=options, metadata_errors="replace")
    except av.ArgumentError as error:
        raise ValueError("of no known format") from error
    with container:
        yield container


class _Nameless:
    """A stream without its file's name, by whose ending FFmpeg would recognise a format."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell
