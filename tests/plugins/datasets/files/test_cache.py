from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from cli_runs import fork_python

from scmrl_plugins.plugins.datasets.files.cache import built_once, cache_dir
from scmrl_plugins.registry import UserError


def write(folder: Path) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "data").write_text("0123456789")


def load(folder: Path) -> str:
    text = (folder / "part" / "data").read_text()
    if not text.startswith("0"):
        raise ValueError("not what was written")
    return text


def never(folder: Path) -> None:
    raise AssertionError("built again")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("SCMRL_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.setenv("SCMRL_CACHE", " ")
    assert cache_dir() == Path.home() / ".cache" / "scmrl"
    monkeypatch.delenv("SCMRL_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "scmrl"


def test_it_is_built_once(cache: Path) -> None:
    assert built_once("a", write, load) == "0123456789"
    assert built_once("a", never, load) == "0123456789"
    assert [path.name for path in cache.iterdir()] == ["a"]


def spoil_missing(folder: Path) -> None:
    (folder / "part" / "data").unlink()


def spoil_truncated(folder: Path) -> None:
    (folder / "part" / "data").write_text("0123")


def spoil_content(folder: Path) -> None:
    (folder / "part" / "data").write_text("9876543210")


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1, 2")


def spoil_manifest_shape(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def spoil_no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_missing,
        spoil_truncated,
        spoil_content,
        spoil_manifest,
        spoil_manifest_shape,
        spoil_no_manifest,
    ],
)
def test_damage_is_reported_and_repaired(cache: Path, capsys: pytest.CaptureFixture[str], spoil) -> None:
    built_once("a", write, load)
    spoil(cache / "a")
    assert built_once("a", write, load) == "0123456789"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(cache / "a") in captured.err
    assert "building it again" in captured.err
    assert [path.name for path in cache.iterdir()] == ["a"]
    assert built_once("a", never, load) == "0123456789"


def test_content_that_changed_is_built_again(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same size, and nothing that the reader notices."""

    def read(folder: Path) -> str:
        return (folder / "part" / "data").read_text()

    built_once("a", write, read)
    (cache / "a" / "part" / "data").write_text("0123456780")
    assert built_once("a", write, read) == "0123456789"
    assert "part/data has changed" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError("no eSpeak")])
def test_an_interrupted_build_leaves_nothing(cache: Path, stop: BaseException) -> None:
    def half(folder: Path) -> None:
        (folder / "data").write_text("01")
        raise stop

    with pytest.raises((KeyboardInterrupt, UserError)):
        built_once("a", half, load)
    assert list(cache.iterdir()) == []
    assert built_once("a", write, load) == "0123456789"


@pytest.mark.slow
def test_a_killed_build_is_not_taken_and_is_swept_later(cache: Path) -> None:
    script = (
        "import os, signal\n"
        "from scmrl_plugins.plugins.datasets.files.cache import built_once\n"
        "def half(folder):\n"
        "    (folder / 'data').write_text('01')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "built_once('a', half, None)\n"
    )
    assert fork_python(script).code == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.name.endswith(".partial")
    assert built_once("a", write, load) == "0123456789"
    assert left.exists()  # it might be another process's work
    os.utime(left, (0, 0))
    built_once("b", write, load)
    assert sorted(path.name for path in cache.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("damaged", [False, True])
def test_builders_at_once_do_not_clash(cache: Path, damaged: bool) -> None:
    if damaged:
        built_once("a", write, load)
        spoil_truncated(cache / "a")
    barrier = threading.Barrier(4)
    results: list[str] = []

    def together(folder: Path) -> None:
        write(folder)
        barrier.wait(timeout=20)

    threads = [threading.Thread(target=lambda: results.append(built_once("a", together, load))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["0123456789"] * 4
    assert [path.name for path in cache.iterdir()] == ["a"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="name another folder in SCMRL_CACHE"):
        built_once("a", write, load)


def test_a_disk_that_loses_what_is_written_ends(cache: Path) -> None:
    def write_wrong(folder: Path) -> None:
        write(folder)
        spoil_content(folder)

    with pytest.raises(UserError, match="not what was written"):
        built_once("a", write_wrong, load)
