"""The folder in which torch keeps what it compiles can be written, or is replaced with a word about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scmrl_plugins.core.system import compiler


def test_a_folder_that_can_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler.FOLDER, str(tmp_path / "new"))
    assert compiler.writable_cache() == ""
    assert os.environ[compiler.FOLDER] == str(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(compiler.FOLDER, str(tmp_path / "file" / "inner"))
    assert compiler.writable_cache().startswith(f"{tmp_path}/file/inner: compiled kernels cannot be kept here")
    replaced = Path(os.environ[compiler.FOLDER])
    assert replaced.is_dir()
    assert compiler.writable_cache() == ""


def test_the_default_is_that_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    assert compiler._default() == default_cache_dir()
    monkeypatch.delenv(compiler.FOLDER, raising=False)
    monkeypatch.setattr(compiler, "_default", lambda: str(tmp_path / "none"))
    assert compiler.writable_cache() == ""
    assert not (tmp_path / "none").exists()
