"""The cells of a grid summed up by task, method and condition: means with intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from scmrl_plugins.bench.accuracy.cells import Cell
from scmrl_plugins.bench.accuracy.front import ranking
from scmrl_plugins.bench.accuracy.grid import Grid, Method, Task
from scmrl_plugins.bench.accuracy.pooled import Pool, difference, mean, worst
from scmrl_plugins.bench.accuracy.records import Record
from scmrl_plugins.bench.spread import over_seeds
from scmrl_plugins.core.evaluation.statistics import holm

COSTS = (
    "parameters",
    "operations",
    "firing_rate",
    "energy_joules",
    "spike_rate",
    "footprint",
    "dense",
    "effective",
    "multiply_accumulates",
    "accumulates",
    "attention",
    "membrane_updates",
    "energy_int8_joules",
    "energy_lemaire_joules",
)
"""Those after the energy are not in records of earlier versions."""

CONTROL = "control"
"""The key of the difference of a method from its own-fed control."""
CONTRIBUTION = ("rate", "partner_share", "shuffled", "mean", "zero")

Made = Sequence[tuple[Cell, Record]]
"""The cells that were made, with their records."""


def summarize(grid: Grid, made: Made, expected: int) -> dict[str, Any]:
    """The summary of the cells that exist, of ``expected`` ones, for JSON and the report.

    By task: the methods ranked by accuracy, those on the front of accuracy and energy, the conditions, the samples
    of a cell, and by method the folds and seeds, the mean of every metric
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
        _compare(methods, pools, {name: reference for name in methods if name != reference}, reference)
    controls = {row.name: row.control for row in grid.rows_of(task) if isinstance(row, Method) and row.control}
    _compare(methods, pools, controls, CONTROL)
    entries = ranking({"methods": methods})
    return {
        "ranking": [entry.method for entry in entries],
        "front": [entry.method for entry in entries if entry.on_front],
        "conditions": {condition.name: condition.settings() for condition in grid.conditions_of(task)},
        "samples": next(iter(made[0][1]["conditions"].values()))["n"],
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
                "alone_method": tested[0].get("alone_method", ""),
                "worst": worst(pool),
                "contribution": _contribution(tested),
                "versus": {},
            }
    first = records[0]
    return {
        "cells": [{"fold": record["cell"]["fold"], "seed": record["cell"]["seed"]} for record in records],
        "protocol": first.get("protocol"),
        "conditions": conditions,
        "costs": _costs(records),
        "temperatures": {
            modality: over_seeds([record["temperatures"][modality] for record in records])
            for modality in first.get("temperatures", {})
        },
    }


def _contribution(tested: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By direction, the mean of each figure over the cells that have it, and in how many the residual is dead."""
    found: dict[str, Any] = {}
    for direction in dict.fromkeys(name for one in tested for name in one.get("contribution", {})):
        cells = [one["contribution"][direction] for one in tested if direction in one.get("contribution", {})]
        values = {key: [cell[key] for cell in cells if cell[key] is not None] for key in CONTRIBUTION}
        found[direction] = {
            **{key: fmean(some) if some else None for key, some in values.items()},
            "dead": sum(bool(cell["dead"]) for cell in cells),
            "cells": len(cells),
        }
    return found


def _costs(records: Sequence[Record]) -> dict[str, Any] | None:
    """The mean costs of a network; none for a baseline."""
    costs = [record["costs"] for record in records if "costs" in record]
    if not costs:
        return None
    return {
        **{key: over_seeds([one[key] for one in costs]) for key in COSTS if all(key in one for one in costs)},
        "seconds": over_seeds([record["training"]["seconds"] for record in records]),
        "dead_layers": sorted({layer for one in costs for layer in one["dead_layers"]}),
    }


def _compare(
    methods: dict[str, Any],
    pools: Mapping[str, Mapping[str, Pool]],
    others: Mapping[str, str],
    key: str,
) -> None:
    """Add the paired differences of methods from ``others``, under a key.

    Their p values are corrected together, for all methods and conditions of the task (Holm).
    """
    compared: dict[str, dict[str, Any]] = {}
    for name, other in others.items():
        if name not in methods or other not in methods:
            continue
        for condition, tested in methods[name]["conditions"].items():
            found = difference(pools[name][condition], pools[other][condition])
            if found is not None:
                tested["versus"][key] = compared[f"{name}/{condition}"] = found
    for comparison, corrected in holm({one: found["p"] for one, found in compared.items()}).items():
        compared[comparison]["p_holm"] = corrected
