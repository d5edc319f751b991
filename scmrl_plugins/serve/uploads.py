"""Files that a client sends, received within limits of type, size and time.

Nothing that the client writes is a path here: names of files are ignored, and each file goes to a private
temporary one, which is gone once the request is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

PARTS: Mapping[str, tuple[str, ...]] = {
    "audio": ("audio/", "video/"),
    "visual": ("image/", "video/"),
    "video": ("video/",),
}
"""The parts of a request, and the beginnings of the types that each may have."""
REFUSED = frozenset({"image/svg+xml", "image/heic", "image/heif", "audio/midi", "audio/x-mpegurl"})
"""Types of these beginnings that are text, scores, lists, or not read."""
UNTYPED = ("", "application/octet-stream", "application/ogg", "application/mp4", "application/x-matroska")
"""Types that do not tell a sound, a picture or a video; the first bytes then do."""
DISCARDED = 4 << 30
"""Bytes of a request that is refused which are read and thrown away, so that the client sees the answer."""
_MAGIC = (
    (0, b"\x89PNG", "image/"),
    (0, b"\xff\xd8\xff", "image/"),
    (0, b"GIF8", "image/"),
    (0, b"BM", "image/"),
    (0, b"II*\0", "image/"),
    (0, b"MM\0*", "image/"),
    (0, b"P5", "image/"),
    (0, b"P6", "image/"),
    (8, b"WEBP", "image/"),
    (8, b"WAVE", "audio/"),
    (8, b"AVI ", "video/"),
    (0, b"FORM", "audio/"),
    (0, b".snd", "audio/"),
    (0, b"caff", "audio/"),
    (0, b"fLaC", "audio/"),
    (0, b"OggS", "audio/"),
    (0, b"ID3", "audio/"),
    (0, b"riff", "audio/"),
    (0, b"\x0b\x77", "audio/"),
    (0, b"\x30\x26\xb2\x75", "audio/"),
    *((0, b"\xff" + bytes([second]), "audio/") for second in (0xF1, 0xF2, 0xF3, 0xF9, 0xFA, 0xFB)),
    (4, b"ftypavif", "image/"),
    (4, b"ftyp", "video/"),
    (0, b"\x1a\x45\xdf\xa3", "video/"),
    (0, b"FLV", "video/"),
    (0, b"\0\0\1\xba", "video/"),
    (0, b"\0\0\1\xb3", "video/"),
)
"""Where a file has which bytes, and the beginning of its type."""


@dataclass(frozen=True)
class Limits:
    """What a request may take: ``size`` in bytes, ``seconds`` from its first to its last byte."""

    size: int
    seconds: float


@dataclass(frozen=True)
class Received:
    """The files of a request by part, each with the beginning of its type."""

    files: Mapping[str, tuple[UploadFile, str]]

    @contextlib.contextmanager
    def paths(self) -> Iterator[tuple[Path | None, Path | None]]:
        """The sound and the picture or video as files in a private folder, which is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="scmrl-") as folder:
            paths: dict[str, Path] = {}
            for part, (upload, kind) in self.files.items():
                # The ending tells a video from a picture.
                paths[part] = Path(folder) / f"{part}{'.mp4' if kind == 'video/' else ''}"
                with paths[part].open("xb") as target:
                    shutil.copyfileobj(upload.file, target)
            yield paths.get("video", paths.get("audio")), paths.get("video", paths.get("visual"))


async def _stream(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body, as far as it is within the limits.

    Of a larger one the rest is read and thrown away before ``HTTPException`` 413, as a connection that is closed
    while the client sends resets it; 408 for one that takes too long.
    """
    total = 0
    body, deadline = request.stream(), asyncio.get_running_loop().time() + limits.seconds
    while total <= DISCARDED:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(body, None)
        except TimeoutError:
            raise HTTPException(408, f"the request took longer than {limits.seconds:g} s; send it again") from None
        if chunk is None:
            break
        total += len(chunk)
        if total <= limits.size:
            yield chunk
    if total > limits.size:
        raise HTTPException(413, f"the files have more than {limits.size / 2**20:.0f} MB; send shorter ones")


async def discard(request: Request, limits: Limits) -> None:
    """Read a request that is refused to its end, within the limits, and keep nothing."""
    with contextlib.suppress(HTTPException, RuntimeError):  # where it has been read to its end
        async for _ in _stream(request, limits):
            pass


@contextlib.asynccontextmanager
async def received(request: Request, limits: Limits) -> AsyncIterator[Received]:
    """The files of a request.

    Raises ``HTTPException``: 415 for another type than ``multipart/form-data`` or a part of a type that is not
    allowed, 413 and 408 as the limits say, 422 for what is no such form, or has no or too many parts.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        await discard(request, limits)
        raise HTTPException(415, f"send multipart/form-data with the parts {', '.join(PARTS)}")
    parser = MultiPartParser(
        request.headers, _stream(request, limits), max_files=len(PARTS), max_fields=0, max_part_size=1024
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        await discard(request, limits)
        raise HTTPException(
            422, f"not a form of files ({error.message}); send {', '.join(PARTS)} as files"
        ) from None
    try:
        yield Received({name: (upload, await _kind(name, upload)) for name, upload in _checked(form).items()})
    finally:
        await form.close()


def _checked(form: Any) -> dict[str, UploadFile]:
    """The files by part; ``HTTPException`` for others, or a combination that means nothing."""
    items = list(form.multi_items())
    if unknown := [name for name, _ in items if name not in PARTS]:
        raise HTTPException(422, f"no part {unknown[0][:40]!r}; send {', '.join(PARTS)}")
    if len(dict(items)) < len(items):
        raise HTTPException(422, "a part is there twice; send each once")
    if "video" in form and len(items) > 1:
        raise HTTPException(422, "video gives both sound and picture; leave out audio and visual, or video")
    if not items:
        raise HTTPException(422, f"nothing to classify; send {', '.join(PARTS)} as files")
    return dict(items)


async def _kind(part: str, upload: UploadFile) -> str:
    """``audio/``, ``image/`` or ``video/``; ``HTTPException`` 415 for a type that the part may not have."""
    declared = (upload.content_type or "").partition(";")[0].strip().lower()
    kind = declared.partition("/")[0] + "/"
    if declared in UNTYPED:
        head = await upload.read(16)
        await upload.seek(0)
        kind = next((each for at, magic, each in _MAGIC if head[at:].startswith(magic)), "")
    if declared in REFUSED or kind not in PARTS[part]:
        wanted = " or ".join(f"{each}*" for each in PARTS[part])
        raise HTTPException(415, f"{part} is of type {declared[:40] or 'unknown'!r}; send {wanted}")
    return kind
