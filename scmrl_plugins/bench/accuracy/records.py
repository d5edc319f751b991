"""The result of a cell as a file, and whether it is the one that the grid asks for.

A result belongs to a configuration, a version of the features, and the weights that the training began with: a
file made with others is refused, or made again if it is a baseline's. The result under a condition belongs to the
corruption, its seed, and the version of the tests: a condition made with others counts as absent, and the saved
network is tested again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.accuracy.cells import Cell
from scmrl_plugins.bench.accuracy.grid import Condition, Method
from scmrl_plugins.core.data.store import digest, transform_settings
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run import series
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError, catalogue

VERSION = 1
"""Incremented when the figures of the same predictions or the same network change."""

BASELINES = {"product": 2, "pipeline": 2}
"""Versions of baselines by kind, 1 where none is given; incremented when the answers from the same data and
networks change. No network depends on them."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Directory:
    """The results of a grid: ``cells/NAME.json``, ``predictions/NAME/CONDITION.parquet`` and ``runs/NAME``."""

    path: Path

    def record_file(self, cell: str) -> Path:
        return self.path / "cells" / f"{cell}.json"

    def run_path(self, cell: str) -> Path:
        return self.path / "runs" / cell

    def predictions_file(self, cell: str, condition: str) -> Path:
        return self.path / "predictions" / cell / f"{condition}.parquet"

    def read(self, cell: str) -> Record | None:
        """The record of a cell; none if there is no file, ``UserError`` if it is not a record."""
        file = self.record_file(cell)
        if not file.exists():
            return None
        record = files.read_table(file)
        if not {"cell", "made_with", "weights", "conditions"} <= record.keys():
            raise UserError(f"{file}: not a result (keys are missing); remove it to make it again")
        return record

    def write(self, cell: str, record: Record) -> Record:
        """Save the record, and return it as ``read`` would."""
        files.write_json(self.record_file(cell), record)
        return dict(json.loads(files.to_json(record)))


def identity(cell: Cell, parts: Assembly, weights: Mapping[str, str]) -> Record:
    """All that a cell's network depends on, for JSON.

    ``weights`` are the digests of the weights by the name of the needed cell. The folder of the data set and the
    folder of the results do not count.
    """
    config = series.plain(parts.config)
    config["dataset"].pop("root", None)
    if cell.needs:
        section, key = cell.row.needed_as if isinstance(cell.row, Method) else ("train", "pretrained")
        config[section][key] = dict(cell.needs)
    entry = catalogue().get("dataset", parts.config.dataset.name)
    features = digest(entry.plugin.version, transform_settings(parts.dataset, parts.config))
    needs = {needed: weights.get(needed) for needed in sorted(set(cell.needs.values()))}
    return {"config": config, "features": features, "needs": needs, "baseline": _plain_baseline(cell)}


def _plain_baseline(cell: Cell) -> Record | None:
    if cell.baseline is None:
        return None
    version = {"version": BASELINES[cell.baseline.kind]} if cell.baseline.kind in BASELINES else {}
    return {**cell.baseline.model_dump(mode="json", exclude={"name", "tasks"}), **version}


def difference(record: Record, expected: Record) -> str:
    """What a record was made with that is not expected, for a message; empty if it is the same."""
    made = record["made_with"]
    if made == expected:
        return ""
    if key := _first_difference(made["config"], expected["config"]):
        return f"made with another configuration ({key})"
    if made["features"] != expected["features"]:
        return "made with another version of the features"
    return "made from another training of the methods that it needs"


def _first_difference(one: Any, other: Any, prefix: str = "") -> str:
    """The first key by which two configurations differ; empty if they do not."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return "" if one == other else prefix
    for key in {**one, **other}:
        inner = f"{prefix}.{key}" if prefix else str(key)
        if key not in one or key not in other:
            return inner
        if found := _first_difference(one[key], other[key], inner):
            return found
    return ""


def condition_key(condition: Condition, noise_seed: int, contribution: bool, cluster: str | None) -> Record:
    """All that the result under a condition depends on beside the network and the data.

    ``contribution``: whether the cross-modal contribution is measured, which draws partners from the seed.
    ``cluster``: the column by which correct answers are counted.
    """
    seed = noise_seed if str(condition) or contribution else None  # nothing is drawn otherwise
    made = {"version": VERSION, "seed": seed, "contribution": contribution, "cluster": cluster}
    return {**made, **condition.settings()}


def current(record: Record, conditions: Mapping[str, Record]) -> Record:
    """The results of a record under those conditions whose key, by name, is the given one."""
    tested = record["conditions"]
    return {
        name: tested[name]
        for name, key in conditions.items()
        if name in tested and tested[name]["made_with"] == key
    }
