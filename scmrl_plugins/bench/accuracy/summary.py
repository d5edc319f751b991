"""The cells of a grid summed up by task, method and condition: means with intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scmrl_plugins.bench.accuracy.cells import Cell
from scmrl_plugins.bench.accuracy.grid import CLEAN, Grid, Task
from scmrl_plugins.bench.accuracy.pooled import Pool, difference, mean, worst
from scmrl_plugins.bench.accuracy.records import Record
from scmrl_plugins.bench.spread import over_seeds
from scmrl_plugins.core.evaluation.statistics import holm

COSTS = ("parameters", "operations", "firing_rate", "energy_joules")

Made = Sequence[tuple[Cell, Record]]
"""The cells that were made, with their records."""


def summarize(grid: Grid, made: Made, expected: int) -> dict[str, Any]:
    """The summary of the cells that exist, of ``expected`` ones, for JSON and the report.

    By task: the conditions, the samples of a cell, and by method the folds and seeds, the mean of every metric
    with its values by cell, the accuracy with a 95 % interval clustered by ``grid.cluster``, the worst cluster,
    the paired differences from ``grid.references``, and the costs.
    """
    newest = max((record for _, record in made), key=lambda record: record["environment"]["created"])
    return {
        "cells": len(made),
        "expected": expected,
        "tuning": grid.section.tuning,
        "references": list(grid.section.references),
        "noise_seed": grid.section.noise_seed,
        "device": newest["device"],
        "environment": newest["environment"],
        "tasks": {
            task.name: _task(grid, task, [(cell, record) for cell, record in made if cell.task == task.name])
            for task in grid.tasks
            if any(cell.task == task.name for cell, _ in made)
        },
    }


def _task(grid: Grid, task: Task, made: Made) -> dict[str, Any]:
    conditions = [condition.name for condition in grid.conditions_of(task)]
    rows = {
        row.name: [record for cell, record in made if cell.row.name == row.name]
        for row in grid.rows_of(task)
        if any(cell.row.name == row.name for cell, _ in made)
    }
    pools = {
        name: {condition: _pool(records, condition, grid.section.cluster) for condition in conditions}
        for name, records in rows.items()
    }
    methods = {name: _method(records, pools[name]) for name, records in rows.items()}
    for reference in grid.section.references:
        _compare(methods, pools, reference, conditions)
    return {
        "conditions": {condition.name: condition.settings() for condition in grid.conditions_of(task)},
        "samples": next(iter(made))[1]["conditions"][CLEAN]["n"],
        "cluster": next((pool.column for one in pools.values() for pool in one.values() if pool.column), None),
        "methods": methods,
    }


def _pool(records: Iterable[Record], condition: str, column: str | None) -> Pool:
    pool = Pool()
    for record in records:
        if condition in record["conditions"]:
            cell = record["cell"]
            pool.add((cell["fold"], cell["seed"]), record["conditions"][condition], column)
    return pool


def _method(records: Sequence[Record], pools: Mapping[str, Pool]) -> dict[str, Any]:
    conditions = {}
    for name, pool in pools.items():
        tested = [record["conditions"][name] for record in records if name in record["conditions"]]
        if tested:
            shared = [key for key in tested[0]["metrics"] if all(key in one["metrics"] for one in tested)]
            conditions[name] = {
                "metrics": {key: over_seeds([one["metrics"][key] for one in tested]) for key in shared},
                "accuracy": mean(pool),
                "worst": worst(pool),
                "versus": {},
            }
    first = records[0]
    return {
        "cells": [{"fold": record["cell"]["fold"], "seed": record["cell"]["seed"]} for record in records],
        "protocol": first.get("protocol"),
        "conditions": conditions,
        "costs": _costs(records),
    }


def _costs(records: Sequence[Record]) -> dict[str, Any] | None:
    """The mean costs of a network; none for a baseline."""
    costs = [record["costs"] for record in records if "costs" in record]
    if not costs:
        return None
    return {
        **{key: over_seeds([one[key] for one in costs]) for key in COSTS},
        "seconds": over_seeds([record["training"]["seconds"] for record in records]),
        "dead_layers": sorted({layer for one in costs for layer in one["dead_layers"]}),
    }


def _compare(
    methods: dict[str, Any], pools: Mapping[str, Mapping[str, Pool]], reference: str, conditions: Sequence[str]
) -> None:
    """Add the paired differences from one reference, whose p values are corrected together for all methods and
    conditions of the task (Holm).
    """
    if reference not in methods:
        return
    compared: dict[str, dict[str, Any]] = {}
    for name, method in methods.items():
        for condition in conditions:
            if name != reference and condition in method["conditions"]:
                found = difference(pools[name][condition], pools[reference][condition])
                if found is not None:
                    method["conditions"][condition]["versus"][reference] = found
                    compared[f"{name}/{condition}"] = found
    for key, corrected in holm({key: found["p"] for key, found in compared.items()}).items():
        compared[key]["p_holm"] = corrected
