"""The directory of a sweep: what it is a sweep of, its runs, and what became of each trial."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmrl_plugins.core.run import series
from scmrl_plugins.core.run.directory import Run, check_free
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep.sweep import Sweep, Trial

DONE, FAILED, STOPPED, WAITING = "done", "failed", "stopped", "waiting"


@dataclass(frozen=True)
class SweepDirectory:
    """``sweep.json``, a run in ``runs/NAME`` for each trial, and in ``trials`` its result, failure and log."""

    path: Path

    @property
    def manifest(self) -> Path:
        return self.path / "sweep.json"

    def run(self, name: str) -> Run:
        return Run(self.path / "runs" / name)

    def result_file(self, name: str) -> Path:
        return self.path / "trials" / f"{name}.json"

    @property
    def page(self) -> Path:
        """The results for people."""
        return self.path / "results.md"

    def failure_file(self, name: str) -> Path:
        return self.path / "trials" / f"{name}.failed.json"

    def log_file(self, name: str) -> Path:
        return self.path / "trials" / f"{name}.log"

    def lock_file(self, name: str) -> Path:
        return self.path / "trials" / f".{name}.lock"

    def epochs_done(self, name: str) -> int:
        """How many epochs of a trial are in its run's metrics."""
        return sum("epoch" in line for line in self.run(name).metrics())

    def fail(self, name: str, reason: str) -> None:
        """Record why a trial failed."""
        files.write_text(self.failure_file(name), files.to_json({"reason": reason}) + "\n")

    def outcome(self, trial: Trial) -> dict[str, Any]:
        """The result of a trial, or its settings and progress; ``status`` is one word."""
        described: dict[str, Any] = {
            "trial": trial.name,
            "settings": trial.settings,
            "run": str(self.run(trial.name).path),
        }
        for file, status in ((self.result_file(trial.name), DONE), (self.failure_file(trial.name), FAILED)):
            if file.exists():
                return described | {"status": status} | files.read_table(file)
        epochs = self.epochs_done(trial.name)
        return described | {"status": STOPPED if epochs else WAITING, "epochs_done": epochs}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running the sweep in the block.

        Raises ``UserError`` if one runs it already, or the directory holds something else or cannot be written.
        """
        if not self.manifest.exists() and not (self.path / ".lock").exists():
            check_free(self.path)
        with files.locked(self.path, self.path / ".lock", "runs this sweep", "choose another directory with -o"):
            yield

    def claim(self, sweep: Sweep, trials: Sequence[Trial], configs: Sequence[dict[str, Any]]) -> None:
        """Record which sweep the directory holds; ``UserError`` if it holds another one.

        ``configs``: the complete configuration of every trial, as ``prepare.check`` returns them.
        """
        described = {
            "search": sweep.section.search,
            "seed": sweep.section.seed,
            "space": json.loads(files.to_json(sweep.space)),
            "base": configs[0],
        }
        if not self.manifest.exists():
            files.write_json(self.manifest, described)
            return
        existing = files.read_table(self.manifest)
        existing["base"] = series.plain_run(existing.get("base", {}))
        # In this order: ranges and lists before the settings that the first trial takes from them.
        for key, value in described.items():
            if difference := _difference(existing.get(key), value, key):
                raise UserError(
                    f"{self.path}: has the sweep of another space or configuration ({difference}); choose "
                    f"another directory with -o"
                )
        for trial, config in zip(trials, configs, strict=True):
            series.read_result(self.result_file(trial.name), config)


def _difference(was: Any, now: Any, key: str) -> str:
    """The first difference between two JSON values, in words; empty if they are equal."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        if key.startswith("space") and list(was) != list(now) and set(was) == set(now):
            return f"{key}: in another order"
        for name in [*was, *(name for name in now if name not in was)]:
            if name not in now:
                return f"{key}.{name} was there".removeprefix("base.")
            if name not in was:
                return f"{key}.{name} was not there".removeprefix("base.")
            if difference := _difference(was[name], now[name], f"{key}.{name}"):
                return difference
        return ""
    return "" if was == now else f"{key} was {json.dumps(was)}, is {json.dumps(now)}".removeprefix("base.")
