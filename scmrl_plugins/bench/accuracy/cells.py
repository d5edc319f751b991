"""The cells of a grid: one method or baseline, on one task, with one fold and one seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from scmrl_plugins.bench.accuracy.grid import Baseline, Condition, Grid, Method, Row, Task
from scmrl_plugins.core.config.layers import compose, parse_set
from scmrl_plugins.core.config.merging import Layer, merge
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import Modality
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.errors import near


@dataclass(frozen=True)
class Cell:
    """One training of the grid, or one computation of a baseline.

    ``needs`` are the names of the cells whose networks it starts from, by modality. ``config`` does not name their
    runs, whose path depends on the directory of the results.
    """

    task: str
    row: Row
    fold: int | None
    seed: int
    config: ExperimentConfig
    conditions: Sequence[Condition]
    needs: Mapping[Modality, str]

    @property
    def name(self) -> str:
        """``TASK/METHOD-foldF-SEED``, without what the grid does not have; a path without suffix."""
        return cell_name(self.task, self.row.name, self.fold, self.seed)

    @property
    def baseline(self) -> Baseline | None:
        """The baseline, or none for a method."""
        return self.row if isinstance(self.row, Baseline) else None


def cell_name(task: str, row: str, fold: int | None, seed: int) -> str:
    """The name of a cell; two cells of a grid have different names."""
    return f"{task}{'/' if task else ''}{row}{'' if fold is None else f'-fold{fold}'}-{seed}"


def cells(grid: Grid) -> dict[str, Cell]:
    """Every cell by name, after those that it needs.

    One seed and fold before the next, so that a part of a grid is a comparison. Raises ``UserError`` where a
    method needs one that is not in the grid, or that needs it in turn.
    """
    ordered: dict[str, Cell] = {}
    for seed in grid.section.seeds:
        for fold in grid.section.folds or (None,):
            made = {cell.name: cell for cell in _repetition(grid, seed, fold)}
            for name in made:
                _add(name, made, ordered, grid, ())
    return ordered


def _repetition(grid: Grid, seed: int, fold: int | None) -> Iterator[Cell]:
    """All cells with one seed and fold."""
    for task in grid.tasks:
        for row in grid.rows_of(task):
            needs = {}
            for modality, written in row.needs.items():
                needed_task, _, method = written.rpartition("/")
                needs[modality] = cell_name(needed_task or task.name, method, fold, seed)
            config = _config(grid, task, row, seed, fold)
            yield Cell(task.name, row, fold, seed, config, grid.conditions_of(task), needs)


def _add(
    name: str, made: Mapping[str, Cell], ordered: dict[str, Cell], grid: Grid, above: tuple[str, ...]
) -> None:
    """Add a cell after those that it needs; ``above`` are the cells that need it."""
    if name in ordered:
        return
    if name in above:
        raise UserError(f"{grid.path}: {' needs '.join((*above, name))}: break the circle")
    cell = made[name]
    for needed in cell.needs.values():
        if needed not in made or made[needed].baseline:
            methods = [other for other, candidate in made.items() if candidate.baseline is None]
            raise UserError(
                f"{grid.path}: {cell.row.name} needs the method of the cell {needed!r}, which the grid does not "
                f"have{near(needed, methods)}; name it as METHOD, or TASK/METHOD for that of another task"
            )
        _add(needed, made, ordered, grid, (*above, name))
    ordered[name] = cell


def _config(grid: Grid, task: Task, row: Row, seed: int, fold: int | None) -> ExperimentConfig:
    """The configuration of a cell: the grid's sections, the task's, the method's, and then fold and seed."""
    layers = [*grid.base, Layer(f"{grid.path}, task {task.name}", task.sections)]
    if isinstance(row, Method):
        layers.append(Layer(f"{grid.path}, method {row.name}", row.sections))
    merged = merge([*layers, *map(parse_set, grid.sets)]).data
    settings: dict[str, Any] = {}
    name = merged["dataset"].get("name")
    known = catalogue().get("dataset", name).load().Config.model_fields if isinstance(name, str) else {}
    if fold is not None:
        if "fold" not in known:
            raise UserError(f"{grid.path}: grid.folds: data set {name!r} has no folds; leave folds out")
        settings["fold"] = fold
    if "seed" in known and "seed" not in merged["dataset"]:
        settings["seed"] = seed
    layers.append(Layer(f"{grid.path}, grid.seeds and grid.folds", {"train": {"seed": seed}, "dataset": settings}))
    config = compose(layers=layers, sets=grid.sets)
    given = {"train.seed": config.train.seed, "dataset.fold": config.dataset.options.get("fold")}
    for key, wanted in (("train.seed", seed), ("dataset.fold", fold)):
        if wanted is not None and given[key] != wanted:
            name = f"grid.{key.split('.')[1]}s"
            raise UserError(f"--set {key}={given[key]}: {grid.path} varies it by {name}; choose cells with --only")
    return config


def select(ordered: Mapping[str, Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells whose names match one of the patterns, all without patterns; ``UserError`` if one matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ordered):
            raise UserError(
                f"--only {pattern}: no cell has such a name{near(pattern, ordered)}; scmrl bench accuracy --list "
                f"shows the names"
            )
    return [
        cell
        for name, cell in ordered.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
