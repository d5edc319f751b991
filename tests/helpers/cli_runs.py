"""Ways to run ``scmrl``: in a new process, in a fork of one that has imported torch, or in this process."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import site
import subprocess
import sys
import tempfile
from collections.abc import Callable
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


# What a new process spends seconds on importing. Nothing of it reads the environment or looks for plugins.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.utils.tensorboard",
        "torchvision",
        "accelerate",
        "datasets",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "scipy.signal",
        "sklearn.datasets",
        "scmrl_plugins.cli.train",
        "scmrl_plugins.core.training.loop",
        "scmrl_plugins.explain.report",
    ]
)


class Fork:
    """``function(*arguments)`` in a fork of a process that has imported torch, which saves seconds."""

    def __init__(
        self, function: Callable[..., object], *arguments: object, cwd: Path | None = None, **env: str
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.out, self.err = (Path(self._folder.name) / name for name in ("out", "err"))
        self.err.touch()  # may be read before the fork writes to it
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
        given = (function, arguments, str(cwd or Path.cwd()), environment, str(self.out), str(self.err))
        self.process = FORKS.Process(target=_call, args=given)
        self.process.start()

    def outcome(self) -> Outcome:
        """Wait for the end."""
        self.process.join(240)
        assert self.process.exitcode is not None, "does not end"
        with self._folder:
            return Outcome(self.process.exitcode, *(p.read_text(encoding="utf-8") for p in (self.out, self.err)))


def _call(
    function: Callable[..., object],
    arguments: tuple[object, ...],
    cwd: str,
    environment: dict[str, str],
    out: str,
    err: str,
) -> None:
    multiprocessing.set_start_method(None, force=True)  # as in a new process
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for folder in filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)):
        sys.path.insert(0, folder)
        site.addsitedir(folder)  # for what is installed there as editable
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    function(*arguments)


def scmrl(*args: str) -> None:
    """``scmrl`` in this process, which ends with it."""
    sys.argv = ["scmrl", *args]
    main(list(args), prog_name="scmrl")


def python(program: str, *args: str) -> None:
    """``python -c`` in this process."""
    sys.argv = ["-c", *args]
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


def script(path: str, *args: str) -> None:
    """``python PATH`` in this process."""
    sys.argv = [path, *args]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def pytest_main(*args: str) -> None:
    """``pytest`` in this process, which ends with it."""
    import pytest

    sys.exit(pytest.main(["-p", "no:cacheprovider", *args]))


def fork_scmrl(*args: str | Path, cwd: Path | None = None, **env: str) -> Outcome:
    """``scmrl`` in a fork."""
    return Fork(scmrl, *map(str, args), cwd=cwd, **env).outcome()


def fork_python(program: str, *args: str | Path, cwd: Path | None = None, **env: str) -> Outcome:
    """``python -c`` in a fork: not for what depends on which modules are imported."""
    return Fork(python, program, *map(str, args), cwd=cwd, **env).outcome()


def fork_script(*args: str | Path, cwd: Path | None = None, **env: str) -> Outcome:
    """``python PATH`` in a fork."""
    return Fork(script, *map(str, args), cwd=cwd, **env).outcome()


def fork_pytest(*args: str | Path, cwd: Path | None = None, **env: str) -> Outcome:
    """``pytest`` in a fork."""
    return Fork(pytest_main, *map(str, args), cwd=cwd, **env).outcome()


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
