"""Completion by the shell knows components, data sets and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import assert_refused, invoke
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


@pytest.mark.parametrize(
    ("shell", "start", "script"),
    [
        ("bash", ".bashrc", ".local/share/scmrl/completion.bash"),
        ("zsh", ".zshrc", ".local/share/scmrl/completion.zsh"),
        ("fish", None, ".config/fish/completions/scmrl.fish"),
    ],
)
def test_it_is_installed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, start: str | None, script: str
) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    if start:
        (tmp_path / start).write_bytes(b"alias l='ls' # \xe9")
    for arguments in (["--install-completion"], ["--install-completion", shell]):
        assert script in invoke(*arguments).out
    assert "_SCMRL_COMPLETE" in (tmp_path / script).read_text()
    if start:
        kept, _, line = (tmp_path / start).read_bytes().rstrip().rpartition(b"\n\n")
        assert kept == b"alias l='ls' # \xe9"
        assert line == f"source {tmp_path / script}".encode()


def test_bash_completes_with_what_was_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    invoke("--install-completion", "bash")
    typed = "COMP_WORDS=(scmrl plug); COMP_CWORD=1; _scmrl_completion scmrl; echo ${COMPREPLY[@]}"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f". ~/.bashrc; {typed}"], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.split() == ["plugins"]


def test_a_shell_it_does_not_know_is_refused() -> None:
    assert_refused(invoke("--install-completion", "tcsh"), "'tcsh'", "bash, zsh or fish")
