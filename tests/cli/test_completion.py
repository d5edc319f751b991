"""Completion by the shell knows components, data sets and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from text_files import write

from scmrl_plugins.cli import main
from scmrl_plugins.registry import catalogue


def completed(*words: str) -> list[str]:
    """What the last word may become."""
    complete = ShellComplete(main, {}, "scmrl", "_SCMRL_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_components_follow_their_options() -> None:
    assert {"cmrl", "late", "summary"} <= set(completed("train", "--fusion", ""))
    assert completed("build", "--json", "--fusion", "lat") == ["late"]
    assert completed("train", "--loss", "ce", "--loss", "te") == ["tet"]
    assert completed("bench", "speed", "--fusion", "lat") == ["late"]
    assert {"lif", "cmrl", "av-folder"} <= set(completed("check", ""))


def test_the_components_of_a_plugin_file_too(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.py",
        "from scmrl_plugins import hookimpl\n"
        "class Mine: pass\n"
        "@hookimpl\n"
        "def scmrl_register(register):\n"
        "    register('fusion', 'my-own', f'{__name__}:Mine', 'Mine.')\n",
    )
    try:
        assert completed("build", "--plugin", str(file), "--fusion", "my") == ["my-own"]
    finally:
        catalogue().remove("mine")


def test_names_of_data_sets() -> None:
    assert completed("data", "check", "av-f") == ["av-folder"]
    assert completed("bench", "data", "av-f") == ["av-folder"]
    assert completed("train", "--dataset", "av-d") == ["av-digits"]


def test_paths_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in ("mine", "runs/a-001", "runs/a-002", "runs/deep/er/b", "runs/a-001/inner"):
        write(tmp_path / run / "config.toml", "")
    write(tmp_path / "other" / "file.toml", "")
    known = ["mine", "runs/a-001", "runs/a-002", "runs/deep/er/b"]
    for command in ("train", "eval", "predict", "explain"):
        assert completed(command, "") == known
    assert completed("eval", "runs/a") == known[1:3]
    assert completed("eval", f"{tmp_path}/runs/de") == [f"{tmp_path}/runs/deep/er/b"]


def test_a_mistyped_command_is_no_error_while_it_is_completed() -> None:
    assert "train" in completed("trian", "--fusion", "")
