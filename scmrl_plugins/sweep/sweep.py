"""A sweep: one configuration, a space of settings, and the trials that follow from both before any is trained."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from scmrl_plugins.core.config.layers import Layer, compose, parse_set, read_file
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.data.store import settings
from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.core.model.assembly import assemble, build_dataset
from scmrl_plugins.core.run import series
from scmrl_plugins.core.run.directory import Run, check_free
from scmrl_plugins.core.system import files, jsonable
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep.space import LARGEST, Axis, Point, consistent, draw, grid, nested, read_axes

DONE, FAILED, STOPPED, WAITING = "done", "failed", "stopped", "waiting"


class SweepSection(ComponentConfig):
    """The section ``[sweep]``."""

    search: Literal["grid", "random"] = Field("grid", description="every combination, or points drawn at random")
    trials: int | None = Field(None, ge=1, le=LARGEST, description="of a random search: how many")
    seed: int = Field(0, ge=0, description="of a random search: what the points follow from")
    metric: Literal["validation_accuracy", "validation_loss"] = Field(
        "validation_accuracy", description="of the validation split, at the best epoch: what ranks the trials"
    )
    parallel: int | None = Field(
        None, ge=1, description="trials at once, at the most; none: as cores and GPUs allow"
    )
    cpus: int | None = Field(None, ge=1, description="cores a trial; none: all, shared by the trials at once")
    gpus: float | None = Field(
        None, ge=0, description="GPUs a trial, or a share of one; none: one if there is any"
    )
    retries: int = Field(2, ge=0, description="how often a trial goes on whose process was killed")

    @model_validator(mode="after")
    def _fits(self) -> SweepSection:
        if self.search == "grid" and self.trials is not None:
            raise ValueError("sweep.trials: a grid has the trials that its lists make; leave it out")
        if self.search == "random" and self.trials is None:
            raise ValueError("sweep.trials: how many points shall be drawn? Write trials = 20")
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("sweep.gpus: above 1 only whole GPUs can be given to a trial")
        return self


@dataclass(frozen=True)
class Trial:
    """One training of a sweep: its name, the settings that are its own, and its configuration."""

    name: str
    settings: Point
    config: ExperimentConfig


@dataclass(frozen=True)
class Sweep:
    """What a sweep's file says."""

    path: Path
    section: SweepSection
    axes: list[Axis]
    base: list[Layer]

    def trials(self) -> list[Trial]:
        """All of them, in order; ``UserError`` for settings that are none, or a protocol that is not honest."""
        if self.section.search == "grid":
            points = grid(self.axes, self.path)
        else:
            points = draw(self.axes, self.section.trials or 0, self.section.seed, self.path)
        width = max(3, len(str(len(points))))
        trials = []
        for place, point in enumerate(points):
            space = Layer(f"{self.path}, [space]", nested(point))
            config = compose(layers=[*self.base, space])
            if config.train.protocol != "honest":
                raise UserError(
                    f"{self.path}: train.protocol = 'published' trains on the validation split and would choose "
                    f"by the test split; a sweep needs 'honest'"
                )
            trials.append(Trial(f"trial-{place + 1:0{width}}", point, config))
        return trials

    @property
    def space(self) -> dict[str, Any]:
        """The axes as the file says them."""
        return {axis.key: axis.describe() for axis in self.axes}


def read_sweep(path: str | Path, sets: Sequence[str] = ()) -> Sweep:
    """The sweep of a TOML file, with ``KEY=VALUE`` settings over it; ``UserError`` for one that is none.

    ``[sweep]`` says how to search; ``[space]`` has dotted settings, each a list of values or a range. Everything
    else, and what the file ``extends``, is the configuration that all trials share.
    """
    path = Path(path)
    layers = [*read_file(path), *map(parse_set, sets)]
    base, own = series.divide(layers, ("sweep", "space"))
    section: dict[str, Any] = {}
    axes: dict[str, Axis] = {}
    for layer in own:
        if not isinstance(layer.data.get("sweep", {}), Mapping):
            raise UserError(f'{layer.source}: sweep must be a section, like [sweep] search = "random"')
        section |= layer.data.get("sweep", {})
        if "space" in layer.data:
            axes |= {axis.key: axis for axis in read_axes(layer.data["space"], layer.source)}
    sweep = Sweep(
        path,
        series.checked(SweepSection, section, path, "sweep"),
        consistent(list(axes.values()), path),
        base,
    )
    for layer in map(parse_set, sets):
        _not_swept(layer, axes)
    return sweep


def _not_swept(layer: Layer, axes: Mapping[str, Axis]) -> None:
    """Refuse a setting of the command line that the space would set again for every trial."""
    key, value = "", layer.data
    while isinstance(value, Mapping) and len(value) == 1:
        ((name, value),) = value.items()
        key = f"{key}.{name}".removeprefix(".")
        if key in axes:
            raise UserError(
                f"{layer.source}: [space] varies {key}; write --set 'space.{key}=[...]' to change that"
            )


@dataclass(frozen=True)
class Place:
    """The directory of a sweep: ``sweep.json``, ``runs/NAME``, and ``trials/NAME.json`` for what is through."""

    path: Path

    @property
    def manifest(self) -> Path:
        return self.path / "sweep.json"

    def run(self, name: str) -> Run:
        return Run(self.path / "runs" / name)

    def result_file(self, name: str) -> Path:
        return self.path / "trials" / f"{name}.json"

    def failure_file(self, name: str) -> Path:
        return self.path / "trials" / f"{name}.failed.json"

    def log_file(self, name: str) -> Path:
        return self.path / "trials" / f"{name}.log"

    def lock_file(self, name: str) -> Path:
        return self.path / "trials" / f".{name}.lock"

    def fail(self, name: str, reason: str) -> None:
        """Say why a trial has come to nothing."""
        files.write_text(self.failure_file(name), jsonable.dumps({"reason": reason}) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else runs the sweep meanwhile.

        Raises ``UserError`` where somebody does, something else is there, or nothing can be written.
        """
        if not self.manifest.exists() and not (self.path / ".lock").exists():
            check_free(self.path)
        with files.locked(self.path, self.path / ".lock", "runs this sweep", "choose another directory with -o"):
            yield


def check(trials: Sequence[Trial], progress: Progress) -> list[dict[str, Any]]:
    """The configuration of every trial with all defaults, so that a mistake in the last is told before the first
    is trained; ``UserError`` where a trial cannot be assembled.
    """
    progress.stage("checking the trials", len(trials))
    configs = []
    for trial in trials:
        try:
            configs.append(series.plain(assemble(trial.config).config))
        except UserError as error:
            raise UserError(f"{trial.name} ({settings_text(trial.settings)}): {error}") from error.__cause__
        progress.advance()
    return configs


def claim(sweep: Sweep, trials: Sequence[Trial], configs: Sequence[dict[str, Any]], place: Place) -> None:
    """Make the directory this sweep's; ``UserError`` where it has another space or configuration.

    ``configs``: what ``check`` returned for the trials.
    """
    described = {
        "search": sweep.section.search,
        "seed": sweep.section.seed,
        "space": json.loads(jsonable.dumps(sweep.space)),
        "base": configs[0],
    }
    if not place.manifest.exists():
        files.write_text(place.manifest, jsonable.dumps(described, indent=2) + "\n")
        return
    try:
        known = json.loads(place.manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{place.manifest}: damaged ({error}); choose another directory with -o") from None
    # In this order: ranges and lists before the settings that the first trial takes from them.
    for key, value in described.items():
        if difference := _difference(known.get(key), value, key):
            raise UserError(
                f"{place.path}: has the sweep of another space or configuration ({difference}); choose another "
                f"directory with -o"
            )
    for trial, config in zip(trials, configs, strict=True):
        series.read_result(place.result_file(trial.name), config)


def _difference(was: Any, now: Any, key: str) -> str:
    """The first thing in which two JSON values differ, in words; empty where they do not."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        if list(was) != list(now) and set(was) == set(now):
            return f"{key}: in another order"
        for name in [*was, *(name for name in now if name not in was)]:
            if name not in now:
                return f"{key}.{name} was there".removeprefix("base.")
            if name not in was:
                return f"{key}.{name} was not there".removeprefix("base.")
            if found := _difference(was[name], now[name], f"{key}.{name}"):
                return found
        return ""
    return "" if was == now else f"{key} was {json.dumps(was)}, is {json.dumps(now)}".removeprefix("base.")


def settings_text(settings: Mapping[str, Any]) -> str:
    """``train.lr = 0.003, fusion.alpha = 1.0``."""
    return ", ".join(f"{key} = {value_text(value)}" for key, value in settings.items())


def value_text(value: Any) -> str:
    """A value of a setting for people."""
    return value if isinstance(value, str) else jsonable.dumps(value)


def prepare_data(trials: Sequence[Trial], place: Place, progress: Progress) -> None:
    """Store the features that trials without a result need, so that none computes what another does already."""
    known: set[str] = set()
    for trial in trials:
        if place.result_file(trial.name).exists():
            continue
        dataset, config = build_dataset(trial.config)
        needed = [config.dataset.model_dump(), settings(dataset, config)]
        text = json.dumps(needed, sort_keys=True, default=str)
        if text not in known:
            known.add(text)
            prepare(dataset, config, progress=progress)


def outcome(place: Place, trial: Trial) -> dict[str, Any]:
    """What became of a trial: its result, or its settings and how far it is, ``status`` in one word."""
    told: dict[str, Any] = {
        "trial": trial.name,
        "settings": trial.settings,
        "run": str(place.run(trial.name).path),
    }
    file = place.result_file(trial.name)
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        return told | {"status": DONE} | {key: value for key, value in known.items() if key not in told}
    if place.failure_file(trial.name).exists():
        return told | {"status": FAILED, **json.loads(place.failure_file(trial.name).read_text(encoding="utf-8"))}
    epochs = [line for line in place.run(trial.name).metrics() if "epoch" in line]
    return told | {"status": STOPPED if epochs else WAITING, "epochs_done": len(epochs)}
