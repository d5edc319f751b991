"""The file of a grid: its cells, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_files import FILE, write

from scmrl_plugins.bench.accuracy import grid
from scmrl_plugins.registry import UserError


def test_cells_are_every_method_under_every_seed(tmp_path: Path) -> None:
    cells = list(grid.read_grid(write(tmp_path)).cells())
    assert [cell.name for cell in cells] == ["late-3", "spatial-3", "late-4", "spatial-4"]
    assert [cell.config.train.seed for cell in cells] == [3, 3, 4, 4]
    assert cells[1].config.fusion.options == {"attention": "spatial"}
    assert cells[1].config.neuron.options["threshold"] == 0.25
    assert cells[0].config.neuron.options["threshold"] == 0.3  # what the data set recommends
    assert all(cell.config.train.epochs == 2 for cell in cells)


def test_a_base_can_be_extended(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(FILE)
    text = 'extends = ["base.toml"]\n[grid]\nseeds = [1]\n[[method]]\nname = "add"\n'
    cells = list(grid.read_grid(write(tmp_path, text)).cells())
    assert [cell.name for cell in cells] == ["add-1"]
    assert cells[0].config.dataset.name == "blobs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no \[\[method\]\] to compare"),
        ("[method]\nname = 'a'", r"method must be a list of tables"),
        ("[[method]]\nfusion.name = 'late'", "method 1.name: input should be a valid string"),
        ("[[method]]\nname = 'a/b'", "method 1.name"),
        ("[[method]]\nname = 'a'\n[[method]]\nname = 'a'", "two methods are called 'a'"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'clean'", "two conditions are called 'clean'"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nnose = 1", "condition 1.nose: unknown key"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nnoise = {audi = 1}", "condition 1.noise.audi"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nocclusion = {visual = 2.0}", "occlusion"),
        ("[grid]\nseed = [1]\n[[method]]\nname = 'a'", "grid.seed: unknown key .did you mean 'seeds'"),
        ("[grid]\nseeds = []\n[[method]]\nname = 'a'", "grid.seeds"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        grid.read_grid(write(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


def test_a_methods_bad_setting_names_the_method(tmp_path: Path) -> None:
    path = write(tmp_path, FILE.replace("fusion.name", "fuson.name"))
    with pytest.raises(UserError, match=r"fuson: unknown key .*method late"):
        list(grid.read_grid(path).cells())
