"""The file of a grid: methods and baselines to compare, tasks, folds and seeds, and conditions to test under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from scmrl_plugins.core.config.layers import read_file
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Modality
from scmrl_plugins.core.run import series
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

CLEAN = "clean"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_LISTS = ("task", "method", "baseline", "condition")


class GridSection(ComponentConfig):
    """The section ``[grid]``."""

    seeds: tuple[int, ...] = Field(
        (0, 1, 2),
        strict=False,
        min_length=1,
        description="train.seed of each repetition, and dataset.seed unless that is set",
    )
    folds: tuple[int, ...] = Field((), strict=False, description="dataset.fold of each repetition; none: not set")
    noise_seed: int = Field(0, ge=0, description="seed of the corruptions, the same for every method")
    cluster: str | None = Field(
        None,
        description="column of the data set, such as speaker, by which intervals are clustered and the worst "
        "group is reported; none: the first that the data set has",
    )
    references: tuple[str, ...] = Field(
        (), strict=False, description="methods and baselines that all others are compared with, in pairs"
    )
    contribution: tuple[str, ...] = Field(
        (CLEAN,), strict=False, description="conditions under which the cross-modal contribution is measured"
    )
    tuning: str = Field("", description="how settings were chosen, and with what budget; the report states it")


class Condition(Disturbance):
    """One ``[[condition]]``: a name, and how the test split is corrupted."""

    name: str = Field(pattern=f"^{_NAME}$")


class Task(ComponentConfig):
    """One ``[[task]]``: a name, sections of the configuration, and the conditions to test under; none: all."""

    name: str = Field(pattern=f"^({_NAME})?$")
    conditions: tuple[str, ...] | None = Field(None, strict=False)
    sections: dict[str, Any] = Field(default_factory=dict)


class Row(ComponentConfig):
    """What methods and baselines share: a name, and the tasks they take part in; none: all."""

    name: str = Field(pattern=f"^{_NAME}$")
    tasks: tuple[str, ...] | None = Field(None, strict=False)

    @property
    def needs(self) -> Mapping[Modality, str]:
        """By modality, the method whose networks must be trained before, as ``METHOD`` or ``TASK/METHOD``."""
        return {}


class Method(Row):
    """One ``[[method]]``: a network, by the sections of its configuration.

    ``pretrained`` names the methods whose networks initialise the encoder and backbone of a modality, with the
    same fold and seed, and the same task unless written ``TASK/METHOD``. ``teachers`` likewise names those that
    are its ``modulation.teachers``. ``control`` names the method that is trained alike but in which each direction
    gets its own modality, ``fusion.partner = "own"``.
    """

    pretrained: dict[Modality, str] = Field(default_factory=dict)
    teachers: dict[Modality, str] = Field(default_factory=dict)
    control: str | None = None
    sections: dict[str, Any] = Field(default_factory=dict)

    @property
    def needs(self) -> Mapping[Modality, str]:
        return self.pretrained or self.teachers

    @property
    def needed_as(self) -> tuple[str, str]:
        """The section and the setting of a run that name the runs of ``needs``."""
        return ("modulation", "teachers") if self.teachers else ("train", "pretrained")

    @model_validator(mode="after")
    def _one_of_both(self) -> Method:
        if self.pretrained and self.teachers:
            raise ValueError("pretrained and teachers are both set; leave one of them out")
        return self


class Baseline(Row):
    """One ``[[baseline]]``: what answers without the training of a network; ``kind`` is its name if not given.

    ``of`` names the methods with one modality whose networks ``product`` and ``pipeline`` combine, as
    ``Method.pretrained`` does; each is calibrated before, by a temperature fitted to its validation split.
    ``modalities`` is what ``linear`` reads.
    """

    kind: Literal["chance", "linear", "product", "pipeline"]
    of: dict[Modality, str] = Field(default_factory=dict)
    modalities: tuple[Modality, ...] = Field(("audio", "visual"), strict=False, min_length=1)

    @model_validator(mode="after")
    def _combines_both(self) -> Baseline:
        if self.kind in ("product", "pipeline") and self.of.keys() != set(MODALITIES):
            raise ValueError(f'{self.kind} combines two methods: set of = {{ audio = "...", visual = "..." }}')
        if self.kind in ("chance", "linear") and self.of:
            raise ValueError(f"{self.kind} combines no methods: leave out of")
        return self

    @property
    def needs(self) -> Mapping[Modality, str]:
        return self.of


@dataclass(frozen=True)
class Grid:
    """A grid as its file describes it."""

    path: Path
    section: GridSection
    tasks: list[Task]
    rows: list[Row]
    conditions: list[Condition]
    base: list[Layer]
    sets: Sequence[str] = ()

    def rows_of(self, task: Task) -> list[Row]:
        """The baselines and methods that take part in a task."""
        return [row for row in self.rows if row.tasks is None or task.name in row.tasks]

    def conditions_of(self, task: Task) -> list[Condition]:
        """The conditions that a task is tested under, the clean one first."""
        names = task.conditions
        return [one for one in self.conditions if names is None or one.name in (CLEAN, *names)]


def read_grid(path: str | Path, sets: Sequence[str] = ()) -> Grid:
    """The grid of a TOML file, with ``KEY=VALUE`` settings for every method; ``UserError`` if it describes none.

    ``[grid]`` has seeds and folds; each ``[[method]]`` a ``name`` and sections that differ, such as
    ``fusion.name = "cmrl"``; each ``[[baseline]]`` a ``name`` and its kind; each ``[[task]]`` a ``name`` and
    sections, such as ``dataset.task = "match"``; each ``[[condition]]`` a ``name`` and corruptions, such as
    ``noise``. All other sections, with those that the file ``extends``, are the configuration that all methods
    share. Without a task there is one without a name; a condition ``clean`` is added.
    """
    path = Path(path)
    layers, sections = series.divide(read_file(path), ("grid", *_LISTS))
    extra: dict[str, Any] = {}
    for layer in sections:
        extra |= layer.data
    tables = {key: _tables(extra, key, path) for key in _LISTS}
    section = series.checked(GridSection, extra.get("grid", {}), path, "grid")
    tasks = [_named(Task, item, path, "task", number) for number, item in enumerate(tables["task"], start=1)]
    baselines = [
        series.checked(Baseline, {"kind": item.get("name"), **item}, path, f"baseline {number}")
        for number, item in enumerate(tables["baseline"], start=1)
    ]
    methods = [
        _named(Method, item, path, "method", number) for number, item in enumerate(tables["method"], start=1)
    ]
    conditions = [
        series.checked(Condition, item, path, f"condition {number}")
        for number, item in enumerate(tables["condition"], start=1)
    ]
    if not methods and not baselines:
        raise UserError(f'{path}: no [[method]] to compare; write one, like [[method]] name = "cmrl"')
    grid = Grid(
        path,
        section,
        tasks or [Task(name="")],
        [*baselines, *methods],
        [Condition(name=CLEAN), *conditions],
        layers,
        sets,
    )
    _check_names(grid)
    return grid


def _named(model: type[Task] | type[Method], item: dict[str, Any], path: Path, what: str, number: int) -> Any:
    """A table as a ``model``: its fields by name, everything else as ``sections``."""
    fields = {key: item.pop(key) for key in model.model_fields if key in item and key != "sections"}
    return series.checked(model, {"name": None, **fields, "sections": item}, path, f"{what} {number}")


def _tables(sections: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    tables = sections.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: {key} must be a list of tables, like [[{key}]]")
    return [dict(table) for table in tables]


def _check_names(grid: Grid) -> None:
    """``UserError`` for a name that is given twice, and for one that nothing bears.

    Two methods may have one name if they share no task: a method with other settings on other tasks.
    """
    rows, tasks = [row.name for row in grid.rows], [task.name for task in grid.tasks]
    conditions = [condition.name for condition in grid.conditions]
    together = [("method", [row.name for row in grid.rows_of(task)]) for task in grid.tasks]
    for what, names in (("condition", conditions), ("task", tasks), *together):
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{grid.path}: two {what}s are called {twice[0]!r}; give each its own name")

    def known(asked: Iterable[str], names: list[str], where: str, what: str) -> None:
        for name in asked:
            if name not in names:
                raise UserError(f"{grid.path}: {where}: no {what} is called {name!r}{near(name, names)}")

    known(grid.section.references, rows, "grid.references", "method or baseline")
    known(grid.section.contribution, conditions, "grid.contribution", "condition")
    for task in grid.tasks:
        known(task.conditions or (), conditions, f"task {task.name}, conditions", "condition")
    for row in grid.rows:
        known(row.tasks or (), tasks, f"{row.name}, tasks", "task")
        if isinstance(row, Method) and row.control is not None:
            known([row.control], rows, f"{row.name}, control", "method")
