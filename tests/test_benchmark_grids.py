"""Every grid in benchmarks/ can be assembled, method by method, and is in its README."""

from __future__ import annotations

from pathlib import Path

import pytest

from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.core.model.assembly import assemble

GRIDS = Path(__file__).parents[1] / "benchmarks" / "grids"
PARTS = {"methods.toml", "conditions.toml"}


@pytest.mark.parametrize(
    "path", [path for path in sorted(GRIDS.glob("*.toml")) if path.name not in PARTS], ids=str
)
def test_it_can_be_assembled(path: Path) -> None:
    # The sizes do not matter here, the memory of the full ones does.
    sets = ["model.embed_dims=32", "model.image_size=32", "model.num_heads=4"]
    grid = read_grid(path, sets)
    assert len(grid.section.seeds) >= 3
    assert len(grid.conditions) > 3
    for cell in list(grid.cells())[: len(grid.methods)]:
        assemble(cell.config)
    assert f"`grids/{path.name}`" in (GRIDS.parent / "README.md").read_text(encoding="utf-8")


def test_every_fusion_is_compared() -> None:
    from scmrl_plugins.registry import catalogue

    ours = {entry.name for entry in catalogue().entries if entry.kind == "fusion" and entry.plugin.builtin}
    grid = read_grid(GRIDS / "av_digits.toml")
    assert {cell.config.fusion.name for cell in grid.cells()} == ours
