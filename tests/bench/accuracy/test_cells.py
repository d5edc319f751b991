"""The cells of a grid: names, configurations, order, and which are selected."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_files import FILE, TASKS, write

from scmrl_plugins.bench.accuracy.cells import Cell, cells, select
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.registry import UserError

SEVERAL = """
[dataset]
name = "blobs"

[grid]
seeds = [3, 4]

[[task]]
name = "two"

[[task]]
name = "one"
train.epochs = 1

[[method]]
name = "late"
pretrained = { audio = "one/audio" }
fusion.name = "late"

[[method]]
name = "audio"
tasks = ["one"]
fusion.name = "audio"

[[baseline]]
name = "product"
of = { audio = "one/audio", visual = "one/audio" }
tasks = ["two"]
"""


def made(folder: Path, text: str, *sets: str) -> dict[str, Cell]:
    return cells(read_grid(write(folder, text), sets))


def test_cells_are_every_method_under_every_seed(tmp_path: Path) -> None:
    found = list(made(tmp_path, FILE).values())
    assert [cell.name for cell in found] == ["late-3", "spatial-3", "late-4", "spatial-4"]
    assert [cell.config.train.seed for cell in found] == [3, 3, 4, 4]
    assert [cell.config.dataset.options["seed"] for cell in found] == [3, 3, 4, 4]
    assert found[1].config.fusion.options == {"attention": "spatial"}
    assert found[1].config.neuron.options["threshold"] == 0.25
    assert found[0].config.neuron.options["threshold"] == 0.3  # what the data set recommends
    assert all(cell.config.train.epochs == 2 for cell in found)


def test_a_seed_of_the_data_that_is_set_stays(tmp_path: Path) -> None:
    found = made(tmp_path, FILE.replace('name = "blobs"', 'name = "blobs"\nseed = 9'))
    assert {cell.config.dataset.options["seed"] for cell in found.values()} == {9}
    assert made(tmp_path, FILE, "dataset.seed=8")["late-3"].config.dataset.options["seed"] == 8


@pytest.mark.parametrize(("text", "setting"), [(FILE, "train.seed=9"), (TASKS, "dataset.fold=1")])
def test_what_the_grid_varies_cannot_be_set(tmp_path: Path, text: str, setting: str) -> None:
    with pytest.raises(UserError, match=f"--set {setting}: .*grid.toml varies it"):
        made(tmp_path, text, setting)


def test_a_cell_comes_after_those_it_needs(tmp_path: Path) -> None:
    found = made(tmp_path, SEVERAL)
    assert list(found) == [
        f"{name}-{seed}" for seed in (3, 4) for name in ("one/audio", "two/product", "two/late", "one/late")
    ]
    assert found["two/late-4"].needs == {"audio": "one/audio-4"}
    assert found["one/late-4"].config.train.epochs == 1
    assert found["two/late-4"].config.train.epochs == 3


def test_a_method_may_have_other_settings_on_other_tasks(tmp_path: Path) -> None:
    """Two entries with one name and no common task: each gives the cells of its tasks."""
    text = SEVERAL + '\n[[method]]\nname = "audio"\ntasks = ["two"]\nfusion.name = "audio"\ntrain.lr = 0.5\n'
    text += 'pretrained = { audio = "one/audio" }\n'
    found = made(tmp_path, text)
    one, two = found["one/audio-3"], found["two/audio-3"]
    assert len(found) == 10
    assert one.config.train.lr < two.config.train.lr == 0.5
    assert (one.needs, two.needs) == ({}, {"audio": "one/audio-3"})
    for tasks in ('["one", "two"]', '["one"]'):
        with pytest.raises(UserError, match="two methods are called 'audio'; give each its own name"):
            made(tmp_path, text.replace('tasks = ["two"]\nfusion', f"tasks = {tasks}\nfusion"))


def test_folds_are_set_where_the_data_set_has_them(tmp_path: Path) -> None:
    text = FILE.replace("seeds = [3, 4]", "seeds = [3]\nfolds = [0, 2]").replace('"blobs"', '"tasks"')
    found = made(tmp_path, text)
    assert [cell.name for cell in found.values()] == [
        "late-fold0-3",
        "spatial-fold0-3",
        "late-fold2-3",
        "spatial-fold2-3",
    ]
    assert [cell.config.dataset.options["fold"] for cell in found.values()] == [0, 0, 2, 2]
    with pytest.raises(UserError, match=r"grid.folds: data set 'blobs' has no folds; leave folds out"):
        made(tmp_path, FILE.replace("seeds = [3, 4]", "folds = [0]"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "one/audio",
            "one/audi",
            "late needs the method of the cell 'one/audi-3', .* .did you mean 'one/audio-3'",
        ),
        ("one/audio", "audio", "late needs the method of the cell 'two/audio-3'"),
        ("one/audio", "two/product", "late needs the method of the cell 'two/product-3'"),
        ("one/audio", "late", "two/late-3 needs two/late-3: break the circle"),
    ],
)
def test_a_need_that_cannot_be_met_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(tmp_path, SEVERAL.replace(f'pretrained = {{ audio = "{old}"', f'pretrained = {{ audio = "{new}"'))


def test_cells_are_selected_by_pattern(tmp_path: Path) -> None:
    found = made(tmp_path, SEVERAL)
    assert [cell.name for cell in select(found, ["two/*-3", "one/audio-4"])] == [
        "two/product-3",
        "two/late-3",
        "one/audio-4",
    ]
    assert len(select(found, [])) == 8
    with pytest.raises(UserError, match=r"--only two/lat-3: no cell has such a name .did you mean 'two/late-3'"):
        select(found, ["two/*", "two/lat-3"])


def test_a_base_can_be_extended(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(FILE)
    text = 'extends = ["base.toml"]\n[grid]\nseeds = [1]\n[[method]]\nname = "add"\n'
    found = made(tmp_path, text)
    assert list(found) == ["add-1"]
    assert found["add-1"].config.dataset.name == "blobs"


def test_a_methods_bad_setting_names_the_method(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fuson: unknown key .*method late"):
        made(tmp_path, FILE.replace("fusion.name", "fuson.name"))
