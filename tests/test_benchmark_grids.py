"""Every grid in benchmarks/ can be assembled, method by method, and is in its README."""

from __future__ import annotations

from pathlib import Path

import pytest

from scmrl_plugins.bench.accuracy.cells import cells
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.registry import catalogue

GRIDS = Path(__file__).parents[1] / "benchmarks" / "grids"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.toml")), ids=lambda path: path.stem)
def test_it_can_be_assembled(path: Path) -> None:
    # The sizes do not matter here, the memory of the full ones does.
    sets = ["model.embed_dims=32", "model.image_size=32", "model.num_heads=4"]
    grid = read_grid(path, sets)
    assert len(grid.section.seeds) * max(1, len(grid.section.folds)) >= 3
    assert len(grid.conditions) > 3
    found = cells(grid).values()
    by_row = {(cell.row.name, cell.row.tasks): cell for cell in found}
    by_task = {cell.task: cell for cell in found}
    for cell in (*by_row.values(), *by_task.values()):
        assemble(cell.config)
    assert f"`grids/{path.name}`" in (GRIDS.parent / "README.md").read_text(encoding="utf-8")


def test_every_fusion_is_compared() -> None:
    ours = {entry.name for entry in catalogue().entries if entry.kind == "fusion" and entry.plugin.builtin}
    compared = {cell.config.fusion.name for cell in cells(read_grid(GRIDS / "digits.toml")).values()}
    assert compared == ours


def test_the_split_of_crema_d_does_not_follow_the_seed() -> None:
    found = cells(read_grid(GRIDS / "crema_d.toml")).values()
    assert {cell.config.train.seed for cell in found} == {0, 1, 2}
    assert {cell.config.dataset.options["seed"] for cell in found} == {0}
