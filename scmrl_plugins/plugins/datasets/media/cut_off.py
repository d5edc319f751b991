"""What the bytes of a sound or video file tell about those that are missing at its end."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

_SLACK = {b"RIFF": 8, b"RIFX": 8, b"FORM": 1}
"""Bytes that a complete file may lack: some writers count the header of the file, too, or a last padding byte."""
_UNKNOWN = 0x7FFF0000
"""Lengths in 32 bits from here on are written by recorders that cannot go back to the header."""
_HEADER = 4096
"""Bytes at the start of a file that hold the lengths."""
_LARGEST_PAGE = 65_307
"""Bytes of an Ogg page at most."""
_KBITS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of layer III in kbit/s, of MPEG-1 and of MPEG-2."""
_EBML = b"\x1a\x45\xdf\xa3"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""What mp4 and mov files start with."""
_COUNTED = re.compile(b"stsz|trun")
"""Boxes that count samples."""
_INDEX = 1 << 26
"""Bytes of an index that are looked at."""
_PARTS = 100_000
"""Elements of a matroska file, and boxes of an mp4 file, that are looked at."""
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""What asf, wma and wmv files, and their properties, start with."""
_TS = {0: 188, 4: 192}
"""Bytes of a packet of MPEG-TS, by the place of its first byte, 0x47: 0, or 4 behind a time code."""
_W64 = b"riff\x2e\x91\xcf\x11"


def missing(stream: BinaryIO) -> str | None:
    """What is missing at the end of a file, as far as the lengths in its header tell; ``None`` if nothing.

    Knows wav and avi (RIFF, RIFX, RF64, Wave64), aiff, au, caf, mp4, matroska, ogg and asf, of which FFmpeg takes
    what is there as complete; and a last packet of MPEG-TS that is not. The stream is at its start afterwards.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(_HEADER)
    try:
        if head.startswith(b"OggS"):
            return _of_ogg(stream, size)
        if head.startswith(_EBML):
            return _of_matroska(stream, size)
        if head[4:8] in _BOXES:
            return _of_mp4(stream, size)
    finally:
        stream.seek(0)
    end = _length(head) or -(-size // _packet(head)) * _packet(head)
    return _beyond(size, end) if end - size > _SLACK.get(head[:4], 0) else None


def streamed(stream: BinaryIO) -> bool:
    """Whether a file was written by a recorder that could not go back to note its length."""
    head = stream.read(_HEADER)
    stream.seek(0)
    return head[:4] in (b"RIFF", b".snd", b"caff") and not _length(head)


def _length(head: bytes) -> int:
    """Bytes of a file by its header; 0 if it does not tell."""
    kind = head[:4]
    if kind in (b"RIFF", b"RIFX", b"FORM"):
        length = int.from_bytes(head[4:8], "little" if kind == b"RIFF" else "big")
        return length + 8 if length < _UNKNOWN else 0
    if kind in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        return int.from_bytes(head[20:28], "little") + 8
    if kind == b".snd":
        start, length = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8))
        return start + length if length < _UNKNOWN else 0
    if kind == b"caff" and (at := head.find(b"data")) >= 0:
        return max(0, at + 12 + int.from_bytes(head[at + 4 : at + 12], "big", signed=True))
    if head.startswith(_ASF) and (at := head.find(_ASF_PROPERTIES)) >= 0:
        broadcast = int.from_bytes(head[at + 88 : at + 92], "little") & 1
        return 0 if broadcast else int.from_bytes(head[at + 40 : at + 48], "little")
    return int.from_bytes(head[16:24], "little") if head.startswith(_W64) else 0


def _packet(head: bytes) -> int:
    """Bytes of a packet of a file that starts with several of MPEG-TS; 1 for another file."""
    lengths = (length for at, length in _TS.items() if len(head) > 4 * length and {*head[at::length]} == {0x47})
    return next(lengths, 1)


def _of_matroska(stream: BinaryIO, size: int) -> str | None:
    """Elements follow one another to the end of the file."""
    return _beyond(size, sum(length for _, length in _parts(stream, size, _element)))


def _of_mp4(stream: BinaryIO, size: int) -> str | None:
    """Boxes follow one another to the end of the file.

    FFmpeg keeps some 70 bytes for every sample that an index counts, whether it is there or not.
    """
    at = 0
    for head, length in _parts(stream, size, _box):
        if head[4:8] in (b"moov", b"moof"):
            stream.seek(at)
            index = stream.read(min(length, _INDEX))
            counts = [index[each.end() + 8 - 4 * (each[0] == b"trun") :][:4] for each in _COUNTED.finditer(index)]
            if max((int.from_bytes(each, "big") for each in counts), default=0) > size:
                return "its index counts more samples than it has bytes"
        at += length
    return _beyond(size, at)


def _parts(stream: BinaryIO, size: int, length_of: Callable[[bytes, int], int]) -> Iterator[tuple[bytes, int]]:
    """The header and the length of each part of a file, one behind the other.

    ``length_of(header, rest)`` is the length of a part, header included, of the ``rest`` of the file; 0 ends them.
    """
    at = 0
    for _ in range(_PARTS):
        if at >= size:
            return
        stream.seek(at)
        head = stream.read(16)
        if not (length := length_of(head, size - at)):
            return
        yield head, length
        at += length


def _element(head: bytes, rest: int) -> int:
    """The length of an element of matroska: of its header alone where it is unknown, as in a stream."""
    name = 9 - head[0].bit_length()
    first = head[name] if name < len(head) else 0
    width = 9 - first.bit_length()
    length = int.from_bytes(head[name : name + width], "big") & ((1 << 7 * width) - 1)
    return name + width + (0 if length == (1 << 7 * width) - 1 else length)


def _box(head: bytes, rest: int) -> int:
    """The length of a box of mp4; one of length 0 extends to the end of the file."""
    length = int.from_bytes(head[:4], "big")
    length = int.from_bytes(head[8:16], "big") if length == 1 else length or rest
    return length if length >= 8 else 0


def _beyond(size: int, end: int) -> str | None:
    """What is missing of a file of ``size`` bytes whose parts end at ``end``."""
    return f"{end - size} bytes are missing" if end > size else None


def _of_ogg(stream: BinaryIO, size: int) -> str | None:
    """A stream ends with a complete page that is marked as its last one (RFC 3533)."""
    stream.seek(max(0, size - _LARGEST_PAGE - _HEADER))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    header = tail[at : at + 27] if at >= 0 else b""
    if len(header) == 27:
        lengths = tail[at + 27 : at + 27 + header[26]]
        if header[5] & 4 and len(tail) >= at + 27 + header[26] + sum(lengths):
            return None
    return "its last page is missing"


def lacks_tag(stream: BinaryIO) -> bool:
    """Whether an flv file does not end with a tag and its size. The stream is at its end afterwards."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 4))
    last = int.from_bytes(stream.read(4), "big")
    stream.seek(max(0, size - 4 - last))
    tag = stream.read(11)
    return last != 11 + int.from_bytes(tag[1:4], "big")


class Mp3:
    """What an mp3 file promises, and what it holds: frames in all, and bytes in its last frame.

    ``add`` is called with every frame, in order. Without a header of the complete file (Xing, Info or VBRI), as
    in a stream, frames are missing without a trace where a cut falls between two of them.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.count, self.promised, self.lacking = 0, _promised_frames(stream), 0

    def add(self, frame: bytes) -> None:
        """The next frame; one of another layer than III, or of free bit rate, does not tell its length."""
        self.count += 1
        self.lacking = _frame_length(frame[:4]) - len(frame)

    def missing(self) -> str | None:
        """What is missing, ``None`` if nothing. Some writers count the header as a frame."""
        if self.count + 1 < self.promised:
            return f"{self.count} of {self.promised} frames are there"
        return f"{self.lacking} bytes are missing" if self.lacking > 0 else None


def _promised_frames(stream: BinaryIO) -> int:
    """Frames by the header in the first frame of an mp3, 0 without one. The stream is at its start afterwards."""
    head = stream.read(10)
    if head.startswith(b"ID3"):  # a size in 7 bits a byte
        stream.seek(
            10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
        )
        head = b""
    head += stream.read(256)
    stream.seek(0)
    for name, frames in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = head.find(name)
        # Xing and Info have flags, of which the lowest says that the number is there.
        if at >= 0 and (name == b"VBRI" or int.from_bytes(head[at + 4 : at + 8], "big") & 1):
            return int.from_bytes(head[at + frames : at + frames + 4], "big")
    return 0


def _frame_length(header: bytes) -> int:
    """Bytes of a frame of MPEG audio layer III by its header (ISO 11172-3, 13818-3); 0 if it does not tell."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bit_rate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return 0
    first = version == 3
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if first else 72) * 1000 * _KBITS[first][bit_rate - 1] // hertz + (header[2] >> 1 & 1)
