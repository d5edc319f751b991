from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiler import needs_compiler

from scmrl_plugins.plugins.kernels import compiled, library

TWICE = 'extern "C" long twice(long x) { return 2 * x; }'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory, empty; the warning may come again."""
    monkeypatch.setattr(library.Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(compiled, "_warned", False)
    return tmp_path / "home"


def written(folder: Path, text: str = TWICE) -> Path:
    (folder / "source.cpp").write_text(text)
    return folder / "source.cpp"


@needs_compiler
def test_a_file_is_compiled_once(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path)
    assert library._load(source, torch.float32).twice(21) == 42
    assert len(list((home / ".cache" / "scmrl" / "kernels").iterdir())) == 1
    monkeypatch.setattr(library, "_compile", None)
    assert library._load(source, torch.float32).twice(4) == 8


@needs_compiler
def test_a_home_that_takes_no_files(tmp_path: Path, home: Path) -> None:
    home.touch()
    functions = library.library(written(tmp_path), torch.float32)
    assert functions is not None
    assert functions.twice(1) == 2


@needs_compiler
def test_an_error_of_the_compiler_is_reported(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"compiler failed: \S+ failed: .*source.cpp"):
        assert library.library(written(tmp_path, "wrong"), torch.float32) is None


@pytest.mark.parametrize("name", ["no-such-compiler", "no-such-compiler -m64"])
def test_no_compiler(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", name)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler: no-such-compiler is not installed"):
        assert library.library(written(tmp_path), torch.float32) is None
