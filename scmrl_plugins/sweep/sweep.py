"""A sweep: one configuration, a space of settings, and the trials that follow from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from scmrl_plugins.core.config.layers import compose, parse_set, read_file
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.evaluation.metrics import METRICS
from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.core.run import series
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep.space import LARGEST, Axis, Point, consistent, draw, grid, nested, read_axes


class SweepSection(ComponentConfig):
    """The section ``[sweep]``."""

    search: Literal["grid", "random"] = Field("grid", description="every combination, or random points")
    trials: int | None = Field(None, ge=1, le=LARGEST, description="of a random search: how many")
    seed: int = Field(0, ge=0, description="of a random search: the seed of its points")
    metric: str = Field(
        "validation_accuracy",
        description="metric of the validation split that ranks the trials, at the best epoch",
    )
    parallel: int | None = Field(
        None, ge=1, description="most trials at once; none: as many as cores and GPUs allow"
    )
    cpus: int | None = Field(
        None, ge=1, description="cores of a trial; none: all cores, shared among the trials at once"
    )
    gpus: float | None = Field(
        None, ge=0, description="GPUs of a trial, or a share of one; none: one, if there are any"
    )
    retries: int = Field(2, ge=0, description="how often a trial resumes after its process was killed")

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        names = [f"validation_{name}" for name, one in METRICS.items() if not one.by_class]
        if metric not in names:
            raise ValueError(f"input should be {' or '.join(map(repr, names))}")
        return metric

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
    """One training of a sweep: its name, the settings it varies, and its configuration."""

    name: str
    settings: Point
    config: ExperimentConfig


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it."""

    path: Path
    section: SweepSection
    axes: list[Axis]
    base: list[Layer]

    def trials(self) -> list[Trial]:
        """All trials in order; ``UserError`` for an invalid setting, or a protocol other than ``honest``."""
        if self.section.search == "grid":
            points = grid(self.axes, self.path)
        else:
            points = draw(self.axes, self.section.trials or 0, self.section.seed, self.path)
        width = max(3, len(str(len(points))))
        trials = []
        for number, point in enumerate(points, start=1):
            space = Layer(f"{self.path}, [space]", nested(point))
            config = compose(layers=[*self.base, space])
            if config.train.protocol != "honest":
                raise UserError(
                    f"{self.path}: train.protocol = 'published' trains on the validation split and would choose "
                    f"by the test split; a sweep needs 'honest'"
                )
            trials.append(Trial(f"trial-{number:0{width}}", point, config))
        return trials

    @property
    def space(self) -> dict[str, Any]:
        """The axes as the file writes them."""
        return {axis.key: axis.describe() for axis in self.axes}


def read_sweep(path: str | Path, sets: Sequence[str] = ()) -> Sweep:
    """The sweep of a TOML file, with ``KEY=VALUE`` settings on top; ``UserError`` if the file describes none.

    ``[sweep]`` configures the search; ``[space]`` holds dotted settings, each a list of values or a range. All
    other sections, with those that the file ``extends``, are the configuration that all trials share.
    """
    path = Path(path)
    layers = [*read_file(path), *map(parse_set, sets)]
    base, extra = series.divide(layers, ("sweep", "space"))
    section: dict[str, Any] = {}
    axes: dict[str, Axis] = {}
    for layer in extra:
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
    """Refuse a command-line setting that the space overrides in every trial."""
    key, value = "", layer.data
    while isinstance(value, Mapping) and len(value) == 1:
        ((name, value),) = value.items()
        key = f"{key}.{name}".removeprefix(".")
        if key in axes:
            raise UserError(
                f"{layer.source}: [space] varies {key}; write --set 'space.{key}=[...]' to change that"
            )


def settings_text(settings: Mapping[str, Any]) -> str:
    """``train.lr = 0.003, fusion.alpha = 1.0``."""
    return ", ".join(f"{key} = {value_text(value)}" for key, value in settings.items())


def value_text(value: Any) -> str:
    """A value of a setting for people."""
    return value if isinstance(value, str) else files.to_json(value)
