"""A grid of methods and seeds, each trained once and tested under every condition; it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from scmrl_plugins.core.config.layers import Layer, compose, read_file
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.core.measure import energy, firing, operations
from scmrl_plugins.core.model.assembly import Assembly, assemble
from scmrl_plugins.core.run import environment, series
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError

CLEAN = "clean"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


class GridSection(ComponentConfig):
    """The section ``[grid]``."""

    seeds: tuple[int, ...] = Field(
        (0, 1, 2), strict=False, min_length=1, description="train.seed of each repetition"
    )
    noise_seed: int = Field(0, ge=0, description="seed of noise and occlusion, the same for every method")


class Condition(Disturbance):
    """One ``[[condition]]``: a disturbance of the test split, and its name."""

    name: str = Field(pattern=f"^{_NAME}$")


class Method(ComponentConfig):
    """One ``[[method]]``: a name, and sections of the configuration."""

    name: str = Field(pattern=f"^{_NAME}$")
    sections: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One training of the grid."""

    method: str
    seed: int
    config: ExperimentConfig

    @property
    def name(self) -> str:
        return f"{self.method}-{self.seed}"


@dataclass(frozen=True)
class Grid:
    """What a grid's file says."""

    path: Path
    section: GridSection
    methods: list[Method]
    conditions: list[Condition]
    base: list[Layer]
    sets: Sequence[str] = ()

    def cells(self) -> Iterator[Cell]:
        """Every training, one seed of all methods after the other, so that a part is a comparison already."""
        for seed in self.section.seeds:
            for method in self.methods:
                layers = [
                    *self.base,
                    Layer(f"{self.path}, method {method.name}", method.sections),
                    Layer(f"{self.path}, grid.seeds", {"train": {"seed": seed}}),
                ]
                yield Cell(method.name, seed, compose(layers=layers, sets=self.sets))


def read_grid(path: str | Path, sets: Sequence[str] = ()) -> Grid:
    """The grid of a TOML file, with ``KEY=VALUE`` settings for every method; ``UserError`` for one that is none.

    ``[grid]`` has the seeds; each ``[[method]]`` a ``name`` and sections of its own, such as ``fusion.name =
    "cmrl"``; each ``[[condition]]`` a ``name`` and ``noise``, ``occlusion`` or ``dropped``. Everything else, and
    what the file ``extends``, is the configuration that all methods share. A condition ``clean`` is always there.
    """
    path = Path(path)
    layers, sections = series.divide(read_file(path), ("grid", "method", "condition"))
    own: dict[str, Any] = {}
    for layer in sections:
        own |= layer.data
    section = series.checked(GridSection, own.get("grid", {}), path, "grid")
    methods = [
        series.checked(Method, {"name": item.pop("name", None), "sections": item}, path, f"method {place + 1}")
        for place, item in enumerate(_tables(own, "method", path))
    ]
    conditions = [
        series.checked(Condition, item, path, f"condition {place + 1}")
        for place, item in enumerate(_tables(own, "condition", path))
    ]
    if not methods:
        raise UserError(f'{path}: no [[method]] to compare; write one, like [[method]] name = "cmrl"')
    for what, names in (
        ("method", [m.name for m in methods]),
        ("condition", [CLEAN] + [c.name for c in conditions]),
    ):
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{path}: two {what}s are called {twice[0]!r}; give each a name of its own")
    return Grid(path, section, methods, [Condition(name=CLEAN), *conditions], layers, sets)


def _tables(own: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    found = own.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise UserError(f"{path}: {key} must be a list of tables, like [[{key}]]")
    return [dict(item) for item in found]


def run_grid(
    grid: Grid,
    out: Path,
    device: torch.device,
    progress: Progress,
    after_run: Callable[[Run], None] | None = None,
) -> list[dict[str, Any]]:
    """Train and test every cell that has no result yet; the results, one a cell.

    A cell's run is ``out/runs/NAME``, its result ``out/cells/NAME.json``, written when it is whole: a grid that
    was stopped goes on with the epoch after its last checkpoint. Raises ``UserError`` where a cell was made with
    another configuration. ``after_run`` gets each run once it is trained.
    """
    cells = list(grid.cells())
    for cell in cells[: len(grid.methods)]:
        assemble(cell.config)  # a mistake in the last method is told before the first is trained
    results = []
    for place, cell in enumerate(cells):
        progress.line(f"{place + 1}/{len(cells)}  {cell.name}")
        results.append(_result(grid, cell, out, device, progress, after_run))
    return results


def _result(
    grid: Grid,
    cell: Cell,
    out: Path,
    device: torch.device,
    progress: Progress,
    after_run: Callable[[Run], None] | None,
) -> dict[str, Any]:
    file = out / "cells" / f"{cell.name}.json"
    parts = assemble(cell.config)
    resolved = series.plain(parts.config)
    conditions = {condition.name: condition.model_dump() for condition in grid.conditions}
    known = series.read_result(file, resolved)
    if known is not None and known["conditions"].keys() >= conditions.keys():
        return known
    run = _trained(cell, parts, out, device, progress)
    if after_run:
        after_run(run)
    model, loss = parts.model.to(device), parts.loss.to(device)
    loader = evaluation_loader(load_splits(parts.dataset, parts.config, ["test"])["test"], parts.config)
    tested = {}
    for condition in grid.conditions:
        progress.stage(f"{cell.name}, {condition.name}", len(loader))
        tested[condition.name] = evaluate(
            model, loss, loader, device, disturbance=condition, seed=grid.section.noise_seed, progress=progress
        )
    batch = {key: value.to(device) for key, value in next(iter(loader)).items() if key in parts.model.channels}
    measured, _ = operations.measure(parts.model, batch)
    spent = energy.estimate(parts.model, batch)
    rates = tested[CLEAN].firing_rates.values()
    result = {
        "method": cell.method,
        "seed": cell.seed,
        "protocol": parts.config.train.protocol,
        "n": tested[CLEAN].n,
        "conditions": {name: {**metrics.scalars(one.metrics), **conditions[name]} for name, one in tested.items()},
        "parameters": measured.parameters,
        "operations": measured.operations,
        "firing_rate": sum(rates) / max(1, len(rates)),
        "dead_layers": firing.dead_layers(tested[CLEAN].firing_rates),
        "energy_joules": spent.joules,
        "multiply_accumulates": spent.multiply_accumulates,
        "accumulates": spent.accumulates,
        "epochs": [line for line in run.metrics() if "epoch" in line],
        "device": str(device),
        "environment": environment.describe(parts.config),
        "config": resolved,
    }
    files.write_json(file, result)
    return json.loads(files.to_json(result))


def _trained(cell: Cell, parts: Assembly, out: Path, device: torch.device, progress: Progress) -> Run:
    run = series.take_run(out / "runs" / cell.name, parts)
    Training(parts, device, progress).fit(run)
    return run
