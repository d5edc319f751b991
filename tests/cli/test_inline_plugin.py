"""``--plugin FILE``: one file, used by every command that builds, and named by the run that was made with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from bad_plugins import FUSION, hook
from cli_runs import SMALL, TINY, assert_refused, fork_scmrl, invoke

from scmrl_plugins.registry import catalogue


@pytest.mark.slow
def test_from_training_to_prediction(tmp_path: Path, small_cache: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUSION + hook(name="handmade", target="{__name__}:Fusion").replace('"{', 'f"{'))
    surroundings = {"SCMRL_CACHE": str(small_cache)}
    run = tmp_path / "run"
    done = fork_scmrl(
        "train", *TINY, "--plugin", file, "--fusion", "handmade", "--device", "cpu", "-o", run, **surroundings
    )
    assert done.code == 0, done.err
    plugin = json.loads((run / "environment.json").read_text())["plugins"][-1]
    assert (plugin["name"], plugin["distribution"], plugin["file"]) == ("mine", "inline", str(file))
    assert plugin["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()

    evaluated = fork_scmrl("eval", run, "--plugin", file, "--device", "cpu", "--json", **surroundings)
    assert json.loads(evaluated.out)["n"] > 0
    # Nothing is imported that the user does not name; the message says what to name.
    assert_refused(
        fork_scmrl("eval", run, "--device", "cpu", **surroundings), "unknown fusion 'handmade'", f"--plugin {file}"
    )


@pytest.mark.slow
def test_it_is_listed_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUSION + hook(name="handmade", target="{__name__}:Fusion").replace('"{', 'f"{'))
    try:
        listed = json.loads(invoke("plugins", "--plugin", file, "--strict", "--json").out)
        assert {"name": "mine", "distribution": "inline", "version": "", "file": str(file)} in listed["plugins"]
        done = invoke("check", "--plugin", file, "mine:handmade", "--json")
        assert done.code == 0, done.out
        assert json.loads(done.out)["failed"] == 0
        assert json.loads(invoke("build", *SMALL, "--plugin", file, "--fusion", "handmade", "--json").out)
    finally:
        catalogue.cache_clear()


def test_a_bad_file_is_one_line(tmp_path: Path) -> None:
    assert_refused(invoke("build", "--plugin", tmp_path / "none.py", "--json"), "none.py", "no such file")
    (tmp_path / "bad.py").write_text("1 / 0")
    assert_refused(invoke("plugins", "--plugin", tmp_path / "bad.py"), "bad.py", "ZeroDivisionError")
