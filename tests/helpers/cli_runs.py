"""Ways to run ``scmrl``: as a user does, in a process of its own, or quickly in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from scmrl_plugins.cli import main

# A model and a data set that train in a second.
SMALL_MODEL = {"model.steps": 2, "model.embed_dims": 16, "model.num_heads": 2, "model.image_size": 8}
SMALL_DATA = {
    "dataset.images": 100,
    "dataset.test_pairs": 1,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.lr": 0.01,
    "neuron.threshold": 0.3,  # at the default one so small a model never fires
}


def sets(settings: dict[str, object]) -> list[str]:
    """``--set`` options."""
    return [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]


SMALL = sets(SMALL_MODEL)
TINY = ["--dataset", "av-digits", *SMALL, *sets(SMALL_DATA)]


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def run_python(*args: str, cwd: Path | None = None, **env: str) -> Outcome:
    """This Python in a process of its own."""
    done = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_scmrl(*args: str | Path, cwd: Path | None = None, **env: str) -> Outcome:
    """``scmrl`` in a process of its own."""
    return run_python("-m", "scmrl_plugins", *map(str, args), cwd=cwd, **env)


def invoke(*args: str | Path) -> Outcome:
    """``scmrl`` in this process; anything but an exit fails the test with its traceback."""
    result = CliRunner().invoke(main, [str(arg) for arg in args], prog_name="scmrl")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one line of complaint, with these words in it; nothing else anywhere."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("Error: ")
    assert outcome.err.endswith("\n")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
