"""Components without a package: from a notebook's cell, and from one file that the user names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from scmrl_plugins.registry import UserError, catalogue, register_file, register_inline

FILE = """
from scmrl_plugins import hookimpl
from scmrl_plugins.core.interfaces import ComponentConfig

class Mine:
    class Config(ComponentConfig):
        size: int = {size}

@hookimpl
def scmrl_register(register):
    register("fusion", "mine", f"{{__name__}}:Mine", "mine alone")
"""


class Cell:
    """What a cell defines.

    And more.
    """

    class Config(BaseModel):
        pass


@pytest.fixture(autouse=True)
def _own_catalogue() -> Iterator[None]:
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def test_a_class_becomes_a_component() -> None:
    entry = register_inline("fusion", "cell", Cell)
    assert catalogue().get("fusion", "cell") == entry == catalogue().get("fusion", "inline:cell")
    assert entry.load() is Cell
    assert entry.summary == "What a cell defines."
    assert "cell" in catalogue().names("fusion")
    assert register_inline("fusion", "cell", Cell, "told otherwise").summary == "told otherwise"


def test_a_cell_can_be_run_again_and_others_stay() -> None:
    class Again(Cell):
        pass

    register_inline("fusion", "cell", Cell)
    register_inline("loss", "cell", Cell)
    register_inline("fusion", "cell", Again)
    assert catalogue().get("fusion", "cell").load() is Again
    assert catalogue().get("loss", "cell").load() is Cell
    assert len([plugin for plugin in catalogue().plugins if plugin.name == "inline"]) == 1


def test_a_built_in_keeps_its_name() -> None:
    register_inline("fusion", "cmrl", Cell)
    assert catalogue().get("fusion", "cmrl").plugin.builtin
    assert catalogue().get("fusion", "inline:cmrl").load() is Cell
    assert [broken.name for broken in catalogue().broken] == ["inline"]
    register_inline("fusion", "cmrl", Cell)
    assert [broken.name for broken in catalogue().broken] == ["inline"]


@pytest.mark.parametrize(
    ("kind", "name", "component", "message"),
    [
        ("fuson", "cell", Cell, "unknown kind"),
        ("fusion", "a b", Cell, "a name is"),
        ("fusion", "cell", object(), "not a class with a Config"),
        ("fusion", "cell", dict, "not a class with a Config"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(kind: str, name: str, component: type, message: str) -> None:
    before = list(catalogue().entries)
    with pytest.raises(UserError, match=message):
        register_inline(kind, name, component)
    assert catalogue().entries == before


def write(path: Path, size: int = 1) -> Path:
    path.write_text(FILE.format(size=size))
    return path


def test_a_file_is_a_plugin_of_its_name(tmp_path: Path) -> None:
    plugin = register_file(write(tmp_path / "my-own plugin.py"))
    assert (plugin.name, plugin.distribution) == ("my-own plugin", "inline")
    assert plugin.file == str(tmp_path / "my-own plugin.py")
    assert catalogue().get("fusion", "mine").load().Config().size == 1
    assert catalogue().broken == []


def test_a_file_read_again_replaces_itself(tmp_path: Path) -> None:
    """Also one that has the size and the time of before."""
    register_file(write(tmp_path / "own.py"))
    before = (tmp_path / "own.py").stat()
    write(tmp_path / "own.py", size=2)
    os.utime(tmp_path / "own.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    register_file(tmp_path / "own.py")
    assert catalogue().get("fusion", "mine").load().Config().size == 2
    assert len([plugin for plugin in catalogue().plugins if plugin.name == "own"]) == 1


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("none.py", None, "no such file"),
        ("notes.txt", "", "not a .py file"),
        ("fusions.py", FILE.format(size=1), "the name of plugin 'fusions'"),
        ("broken.py", "def broken(:", "SyntaxError"),
        ("exits.py", "raise SystemExit(3)", "SystemExit: 3"),
        ("plain.py", "x = 1", "no hook scmrl_register"),
        ("wrong.py", FILE.format(size=1).replace('"fusion"', '"fuson"'), "unknown kind"),
    ],
)
def test_a_bad_file_is_one_line_with_its_name(tmp_path: Path, name: str, source: str | None, message: str) -> None:
    if source is not None:
        (tmp_path / name).write_text(source)
    before = list(catalogue().entries)
    with pytest.raises(UserError, match=message) as caught:
        register_file(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert catalogue().entries == before


def test_a_file_replaced_by_a_broken_one_keeps_the_old_components(tmp_path: Path) -> None:
    register_file(write(tmp_path / "own.py"))
    (tmp_path / "own.py").write_text("1 / 0")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        register_file(tmp_path / "own.py")
    assert catalogue().get("fusion", "mine").plugin.name == "own"


def test_a_bare_inline_name_is_kept_for_cells(tmp_path: Path) -> None:
    register_inline("fusion", "cell", Cell)
    with pytest.raises(UserError, match="rename the file"):
        register_file(write(tmp_path / "inline.py"))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """The second would replace what the first registered."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "mine.py")
    register_file(tmp_path / "one" / "mine.py")
    with pytest.raises(
        UserError, match=r"two/mine\.py: 'mine' is the name of .*one/mine\.py too; rename one of them"
    ):
        register_file(tmp_path / "two" / "mine.py")
    register_file(tmp_path / "one" / "mine.py")
