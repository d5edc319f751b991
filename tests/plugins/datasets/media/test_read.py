"""Files as streams, and errors of decoders as lines about files."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.media import read
from scmrl_plugins.plugins.datasets.media.container import opened_container


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


def test_versions_of_pyav_differ_in_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """From version 19 on, ``av.open`` replaces what it cannot decode in titles, and has no argument for it."""
    import av

    given: dict[str, dict[str, object]] = {}

    def opens(_stream: object, **options: object) -> contextlib.nullcontext[None]:
        given[av.__version__] = options
        return contextlib.nullcontext()

    monkeypatch.setattr(av, "open", opens)
    for version in ("18.1.0", "19.0.2"):
        monkeypatch.setattr(av, "__version__", version)
        with opened_container(io.BytesIO()):
            pass
    assert given["18.1.0"] == {**given["19.0.2"], "metadata_errors": "replace"}
    assert "metadata_errors" not in given["19.0.2"]
