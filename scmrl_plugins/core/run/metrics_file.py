"""The lines of ``metrics.jsonl``, which training writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a file. Raises ``UserError`` for one that training does not write."""
    lines = [files.from_json(line, path) for line in files.read_lines(path)]
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not _has_position(line):
            raise UserError(f"{path}: line {number} is not one that training writes; restore or remove it")
    return lines


def _has_position(line: Mapping[str, Any]) -> bool:
    """Whether the epoch and step in a line of the metrics, where it has them, are numbers of such."""
    positions = [line[key] for key in ("epoch", "step", "of_epoch") if key in line]
    complete = "of_epoch" not in line or "step" in line
    return complete and all(type(value) is int and value >= 0 for value in positions)
