"""The file of a grid: methods and seeds to train, and conditions to test them under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from scmrl_plugins.core.config.layers import compose, read_file
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.core.run import series
from scmrl_plugins.registry import UserError

CLEAN = "clean"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


class GridSection(ComponentConfig):
    """The section ``[grid]``."""

    seeds: tuple[int, ...] = Field(
        (0, 1, 2), strict=False, min_length=1, description="train.seed of each repetition"
    )
    noise_seed: int = Field(0, ge=0, description="seed of the corruptions, the same for every method")


class Condition(Disturbance):
    """One ``[[condition]]``: a name, and how the test split is corrupted."""

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
    """A grid as its file describes it."""

    path: Path
    section: GridSection
    methods: list[Method]
    conditions: list[Condition]
    base: list[Layer]
    sets: Sequence[str] = ()

    def cells(self) -> Iterator[Cell]:
        """Every training, all methods with one seed before the next seed: a part of a grid is a comparison."""
        for seed in self.section.seeds:
            for method in self.methods:
                layers = [
                    *self.base,
                    Layer(f"{self.path}, method {method.name}", method.sections),
                    Layer(f"{self.path}, grid.seeds", {"train": {"seed": seed}}),
                ]
                yield Cell(method.name, seed, compose(layers=layers, sets=self.sets))


def read_grid(path: str | Path, sets: Sequence[str] = ()) -> Grid:
    """The grid of a TOML file, with ``KEY=VALUE`` settings for every method; ``UserError`` if it describes none.

    ``[grid]`` has the seeds; each ``[[method]]`` a ``name`` and sections that differ, such as ``fusion.name =
    "cmrl"``; each ``[[condition]]`` a ``name`` and corruptions, such as ``noise``. All other sections, with those
    that the file ``extends``, are the configuration that all methods share. A condition ``clean`` is added.
    """
    path = Path(path)
    layers, sections = series.divide(read_file(path), ("grid", "method", "condition"))
    extra: dict[str, Any] = {}
    for layer in sections:
        extra |= layer.data
    section = series.checked(GridSection, extra.get("grid", {}), path, "grid")
    methods = [
        series.checked(Method, {"name": item.pop("name", None), "sections": item}, path, f"method {number}")
        for number, item in enumerate(_tables(extra, "method", path), start=1)
    ]
    conditions = [
        series.checked(Condition, item, path, f"condition {number}")
        for number, item in enumerate(_tables(extra, "condition", path), start=1)
    ]
    if not methods:
        raise UserError(f'{path}: no [[method]] to compare; write one, like [[method]] name = "cmrl"')
    for what, names in (
        ("method", [m.name for m in methods]),
        ("condition", [CLEAN] + [c.name for c in conditions]),
    ):
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{path}: two {what}s are called {twice[0]!r}; give each its own name")
    return Grid(path, section, methods, [Condition(name=CLEAN), *conditions], layers, sets)


def _tables(sections: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    tables = sections.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: {key} must be a list of tables, like [[{key}]]")
    return [dict(table) for table in tables]
