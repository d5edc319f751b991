"""Files as streams, and errors of decoders as lines about files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import read


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "it takes more memory than there is"),
        (OverflowError("int too large"), "int too large"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), "codec can't decode"),
        (RecursionError("too deep"), "too deep"),
        (KeyError("x"), "'x'"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_any_error_of_a_decoder_is_the_files(error: Exception, reason: str) -> None:
    with pytest.raises(BadFileError) as caught, read.refused("a.wav", "no sound", "give another"):
        raise error
    assert caught.value.path == "a.wav"
    assert caught.value.reason.startswith("no sound (")
    assert reason in caught.value.reason
    assert caught.value.reason.endswith("; give another")


def test_a_file_that_is_bad_already_keeps_its_reason() -> None:
    with pytest.raises(BadFileError, match=r"^a.wav: silent$"), read.refused("b", "no sound", "give another"):
        raise BadFileError("a.wav", "silent")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(BadFileError, match="a pipe"):
        read.read_bytes(tmp_path / "a.wav", "a.wav")


def test_a_file_that_does_not_fit_into_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(BadFileError, match=r"a.png: has 3.0 GB, at most 1 is read"):
        read.read_bytes(tmp_path / "a.png", "a.png")
