"""The cells of a grid: each is trained once and tested under every condition; a grid that was stopped resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scmrl_plugins.bench.accuracy.grid import CLEAN, Cell, Grid
from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.measure import energy, firing, operations
from scmrl_plugins.core.model.assembly import Assembly, assemble
from scmrl_plugins.core.run import environment, series
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training


def run_grid(
    grid: Grid,
    out: Path,
    device: torch.device,
    progress: Progress,
    after_run: Callable[[Run], None] | None = None,
) -> list[dict[str, Any]]:
    """Train and test every cell that has no result yet; the results, one per cell.

    The run of a cell is ``out/runs/NAME``, its result ``out/cells/NAME.json``. A grid that was stopped resumes
    from the last checkpoint. ``after_run`` is called with each run once it is trained. Raises ``UserError`` for a
    cell that was made with another configuration.
    """
    cells = list(grid.cells())
    for cell in cells[: len(grid.methods)]:
        assemble(cell.config)  # reports a mistake in the last method before the first is trained
    results = []
    for number, cell in enumerate(cells, start=1):
        progress.line(f"{number}/{len(cells)}  {cell.name}")
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
    config = series.plain(parts.config)
    existing = series.read_result(file, config)
    if existing is not None and existing["conditions"].keys() >= {condition.name for condition in grid.conditions}:
        return existing
    run = series.take_run(out / "runs" / cell.name, parts)
    Training(parts, device, progress).fit(run)
    if after_run:
        after_run(run)
    result = {
        "method": cell.method,
        "seed": cell.seed,
        "protocol": parts.config.train.protocol,
        **_tested(grid, cell, parts, device, progress),
        "epochs": [line for line in run.metrics() if "epoch" in line],
        "device": str(device),
        "environment": environment.describe(parts.config),
        "config": config,
    }
    files.write_json(file, result)
    return json.loads(files.to_json(result))


def _tested(grid: Grid, cell: Cell, parts: Assembly, device: torch.device, progress: Progress) -> dict[str, Any]:
    """The metrics under every condition, and the cost of a sample of the clean test split."""
    model, loss = parts.model.to(device), parts.loss.to(device)
    loader = evaluation_loader(load_splits(parts.dataset, parts.config, ["test"])["test"], parts.config)
    tested = {}
    for condition in grid.conditions:
        progress.stage(f"{cell.name}, {condition.name}", len(loader))
        tested[condition.name] = evaluate(
            model, loss, loader, device, disturbance=condition, seed=grid.section.noise_seed, progress=progress
        )
    batch = {key: value.to(device) for key, value in next(iter(loader)).items() if key in model.channels}
    measured, _ = operations.measure(model, batch)
    spent = energy.estimate(model, batch)
    rates = tested[CLEAN].firing_rates
    return {
        "n": tested[CLEAN].n,
        "conditions": {
            condition.name: {**metrics.scalars(tested[condition.name].metrics), **condition.model_dump()}
            for condition in grid.conditions
        },
        "parameters": measured.parameters,
        "operations": measured.operations,
        "firing_rate": sum(rates.values()) / max(1, len(rates)),
        "dead_layers": firing.dead_layers(rates),
        "energy_joules": spent.joules,
        "multiply_accumulates": spent.multiply_accumulates,
        "accumulates": spent.accumulates,
    }
