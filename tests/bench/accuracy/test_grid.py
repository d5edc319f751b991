"""The file of a grid: what it describes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_files import write

from scmrl_plugins.bench.accuracy import grid
from scmrl_plugins.bench.accuracy.grid import Baseline, Method
from scmrl_plugins.registry import UserError

FILE = """
[grid]
seeds = [1]
references = ["late"]

[[task]]
name = "same"
dataset.task = "same"
conditions = ["noisy"]

[[task]]
name = "match"
dataset.task = "match"
conditions = []

[[task]]
name = "sum"

[[baseline]]
name = "chance"

[[baseline]]
name = "ear"
kind = "linear"
modalities = ["audio"]
tasks = ["same"]

[[method]]
name = "audio"
fusion.name = "audio"

[[method]]
name = "late"
pretrained = { audio = "audio" }
tasks = ["same", "match"]
fusion.name = "late"

[[condition]]
name = "noisy"
noise = { audio = 0 }

[[condition]]
name = "deaf"
dropped = ["audio"]
"""


def test_a_file_describes_tasks_rows_and_conditions(tmp_path: Path) -> None:
    found = grid.read_grid(write(tmp_path, FILE))
    same, match, total = found.tasks
    assert same.sections == {"dataset": {"task": "same"}}
    assert [row.name for row in found.rows_of(same)] == ["chance", "ear", "audio", "late"]
    assert [row.name for row in found.rows_of(total)] == ["chance", "audio"]
    assert [one.name for one in found.conditions_of(same)] == ["clean", "noisy"]
    assert [one.name for one in found.conditions_of(match)] == ["clean"]
    assert [one.name for one in found.conditions_of(total)] == ["clean", "noisy", "deaf"]
    chance, ear, audio, late = found.rows
    assert isinstance(chance, Baseline)
    assert isinstance(ear, Baseline)
    assert (chance.kind, ear.kind, ear.modalities) == ("chance", "linear", ("audio",))
    assert isinstance(late, Method)
    assert late.sections == {"fusion": {"name": "late"}}
    assert (audio.needs, late.needs) == ({}, {"audio": "audio"})


def test_a_file_without_tasks_has_one_without_a_name(tmp_path: Path) -> None:
    assert [task.name for task in grid.read_grid(write(tmp_path)).tasks] == [""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no \[\[method\]\] to compare"),
        ("[method]\nname = 'a'", r"method must be a list of tables"),
        ("[[method]]\nfusion.name = 'late'", "method 1.name: input should be a valid string"),
        ("[[method]]\nname = 'a/b'", "method 1.name"),
        ("[[method]]\nname = 'a'\n[[method]]\nname = 'a'", "two methods are called 'a'"),
        ("[[method]]\nname = 'chance'\n[[baseline]]\nname = 'chance'", "two methods are called 'chance'"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'clean'", "two conditions are called 'clean'"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nnose = 1", "condition 1.nose: unknown key"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nnoise = {audi = 1}", "condition 1.noise.audi"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nocclusion = {visual = 2.0}", "occlusion"),
        ("[grid]\nseed = [1]\n[[method]]\nname = 'a'", "grid.seed: unknown key .did you mean 'seeds'"),
        ("[grid]\nseeds = []\n[[method]]\nname = 'a'", "grid.seeds"),
        (
            "[grid]\nreferences = ['lat']\n[[method]]\nname = 'late'",
            "grid.references: no .* 'lat' .did you mean 'late'",
        ),
        ("[[method]]\nname = 'a'\ntasks = ['same']", "a, tasks: no task is called 'same'"),
        ("[[method]]\nname = 'a'\n[[task]]\nname = 's'\nconditions = ['x']", "task s, conditions: no condition"),
        ("[[task]]\nname = 's'\n[[task]]\nname = 's'\n[[method]]\nname = 'a'", "two tasks are called 's'"),
        ("[[baseline]]\nname = 'luck'", "baseline 1.kind: input should be 'chance'.*got 'luck'"),
        ("[[baseline]]\nname = 'product'", "baseline 1: product combines two methods: set of"),
        ("[[baseline]]\nname = 'chance'\nof = {audio = 'a'}", "baseline 1: chance combines no methods"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        grid.read_grid(write(tmp_path, text))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
