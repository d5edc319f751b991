"""Files that are replaced as a whole, whatever happens."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "one")
    files.write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert leftovers(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_old_file_stays_until_the_new_one_is_done(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with files.replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.slow
def test_what_has_no_end_or_is_too_large_is_not_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), tmp_path):
        for read in (files.read_text, files.read_lines, files.read_json):
            with pytest.raises(UserError, match=f"{path}: not a regular file"):
                read(path)
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(2**40)  # sparse
    for read in (files.read_text, files.read_lines, files.read_json):
        with pytest.raises(UserError, match=r"large\.json: larger than \d+ MiB"):
            read(large)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 200_000, "nested too deeply for JSON"),
        (b'{"a": ' * 200_000, "nested too deeply for JSON"),
        (b"9" * 5_000, "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not text in UTF-8"),
    ],
)
def test_what_is_not_json_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json: {says}.*restore"):
        files.read_json(path)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


def test_an_error_leaves_no_new_file(tmp_path: Path) -> None:
    def fail() -> None:
        with files.replacing(tmp_path / "a.txt"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert leftovers(tmp_path) == []


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


def test_of_several_writers_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(i) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=files.write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert leftovers(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("before", ["", "one\n", "one\ntwo\n"])
@pytest.mark.parametrize("cut", ["", "t", '{"epoch": 2, "lo'])
def test_a_line_is_not_glued_to_one_that_was_cut(tmp_path: Path, before: str, cut: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_text(before + cut)
    files.append_line(path, "last")
    assert path.read_text() == f"{before}last\n"
    assert files.read_lines(path) == [*before.splitlines(), "last"]


def test_an_error_of_the_system_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.txt: cannot be saved \(.*\); free space or make"):
        files.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(OSError, match=r"a\.txt") as caught, files.replacing(tmp_path / "file" / "a.txt"):
        pass
    assert ".partial" not in str(caught.value)
    if Path("/dev/full").exists():
        with pytest.raises(UserError, match=r"/dev/full: cannot be saved \(No space left on device\)"):
            files.append_line(Path("/dev/full"), "x")


def test_files_are_as_private_as_the_umask_asks(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("value", [{"name": "n" * 2**20}, {"n" * 2**20: 1}, [[{"a": ["n" * 2**20]}]]])
def test_texts_of_a_megabyte_are_not_read(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, value)
    with pytest.raises(
        UserError, match=r"a.json: not JSON \(a text has 1,048,576 characters \('nnn.*\); restore or"
    ) as error:
        files.read_json(path)
    assert len(str(error.value)) < 400
    files.write_json(path, ["n" * 1000] * 1000)
    assert len(files.read_json(path)) == 1000
