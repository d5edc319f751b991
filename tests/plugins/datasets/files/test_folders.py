"""Listing folders: files that are used, and others that are named."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.plugins.datasets.files.folders import PICTURES, SOUNDS, VIDEOS, files_in


def test_a_file_of_a_format_that_is_not_read_is_named_once(tmp_path: Path) -> None:
    for name in ("a.wav", "b.m4a", "c.AMR", "d.png", "e.heic", "f.mp4", "g.ogv", "h.wmv", "notes.txt"):
        (tmp_path / name).touch()
    bad: list = []
    assert [path.name for path in files_in(tmp_path, SOUNDS, bad)] == ["a.wav", "b.m4a"]
    assert [str(error) for error in bad] == [f"{tmp_path / 'c.AMR'}: .amr files are not read; convert it to wav"]
    assert [path.name for path in files_in(tmp_path, PICTURES | VIDEOS, bad)] == ["d.png", "f.mp4", "h.wmv"]
    assert [error.reason for error in bad[1:]] == [
        ".heic files are not read; convert it to png",
        ".ogv files are not read; convert it to mp4",
    ]
