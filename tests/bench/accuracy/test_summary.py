"""The summary of records with known figures, and the tables and pages made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grid_files import write

from scmrl_plugins.bench.accuracy import report, tables
from scmrl_plugins.bench.accuracy.cells import Cell, cells
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.bench.accuracy.records import Record
from scmrl_plugins.bench.accuracy.summary import summarize

GRID = """
[dataset]
name = "tasks"

[grid]
seeds = [0]
folds = [0, 1]
references = ["late"]
tuning = "three learning rates for every method"

[[task]]
name = "same"

[[task]]
name = "match"
conditions = []

[[baseline]]
name = "chance"

[[method]]
name = "late"

[[method]]
name = "cmrl"
tasks = ["same"]
control = "late"

[[condition]]
name = "deaf"
dropped = ["audio"]
"""

# Correct answers of ten by speaker, four speakers in two folds.
CORRECT = {
    "chance": [[1, 1], [1, 1]],
    "late": [[6, 8], [4, 6]],
    "cmrl": [[7, 9], [6, 7]],
}

CROSSING = {"rate": 0.2, "dead": False, "partner_share": 0.5, "shuffled": -30.0, "mean": -20.0, "zero": -25.0}
METRICS_ALONE = {"audio_alone": 0.25, "visual_alone": 0.5}
SILENT = {"rate": 0.0, "dead": True, "partner_share": None, "shuffled": 0.0, "mean": 0.0, "zero": 0.0}


def record(cell: Cell, correct: list[int]) -> Record:
    groups = {f"{name}{cell.fold}": [10, right] for name, right in zip(("ada", "ben"), correct, strict=True)}
    accuracy = sum(correct) / 20
    tested = {"n": 20, "metrics": {"accuracy": accuracy, "macro_f1": accuracy / 2}, "groups": {"speaker": groups}}
    if cell.row.name == "cmrl":
        tested["contribution"] = {"audio_from_visual": CROSSING, "visual_from_audio": SILENT}
        tested |= {
            "alone_method": "blank",
            "metrics": {**METRICS_ALONE, "accuracy": accuracy, "macro_f1": accuracy / 2},
        }
    network: dict[str, Any] = {
        "protocol": "honest",
        "costs": {
            "parameters": 1000,
            "operations": 2_000_000,
            "firing_rate": 0.1,
            "energy_joules": 3e-9,
            "dead_layers": ["fusion.neuron"] if cell.row.name == "cmrl" else [],
        },
        "training": {"seconds": 7.0},
    }
    return {
        "cell": {"task": cell.task, "method": cell.row.name, "fold": cell.fold, "seed": cell.seed},
        "conditions": {condition.name: tested for condition in cell.conditions},
        "device": "cpu",
        "environment": {"created": "2026-01-01", "platform": "Linux", "packages": {"torch": "2"}},
        **({} if cell.baseline else network),
    }


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    grid = read_grid(write(tmp_path, GRID))
    made = [(cell, record(cell, CORRECT[cell.row.name][cell.fold or 0])) for cell in cells(grid).values()]
    return summarize(grid, made, len(made))


def test_accuracies_are_pooled_by_speaker(summary: dict[str, Any]) -> None:
    assert list(summary["tasks"]) == ["same", "match"]
    late = summary["tasks"]["same"]["methods"]["late"]
    found = late["conditions"]["clean"]
    assert found["accuracy"]["mean"] == pytest.approx(24 / 40)
    # Four speakers with shares 0.6, 0.8, 0.4, 0.6, whose mean varies by 0.08 / 3 / 4; but no effective sample is
    # larger than the sample. Wilson's interval with t(3).
    n, q = min(40, 0.24 / (0.08 / 12)), 3.182
    high = (0.6 + q**2 / (2 * n) + q * (0.24 / n + q**2 / (4 * n**2)) ** 0.5) / (1 + q**2 / n)
    assert found["accuracy"]["high"] == pytest.approx(high, rel=1e-3)
    assert found["worst"] == {"group": "ada1", "accuracy": 0.4}
    assert found["metrics"]["macro_f1"]["values"] == [0.35, 0.25]
    assert late["cells"] == [{"fold": 0, "seed": 0}, {"fold": 1, "seed": 0}]


def test_methods_are_compared_in_pairs(summary: dict[str, Any]) -> None:
    """The differences by speaker are 1, 1, 2 and 1 of 10: far less varied than the accuracies."""
    methods = summary["tasks"]["same"]["methods"]
    found = methods["cmrl"]["conditions"]["clean"]["versus"]["late"]
    assert found["mean"] == pytest.approx(0.125)
    assert found["low"] > 0.04
    # Holm: the smaller of two p values counts twice for each of the two conditions.
    chance = methods["chance"]["conditions"]["clean"]["versus"]["late"]
    assert found["p"] < found["p_holm"] <= 1
    assert chance["mean"] == pytest.approx(-0.5)
    assert methods["late"]["conditions"]["clean"]["versus"] == {}
    # Only two comparisons are with a control.
    control = methods["cmrl"]["conditions"]["clean"]["versus"]["control"]
    assert control["mean"] == found["mean"]
    assert control["p_holm"] == pytest.approx(2 * found["p"])
    assert summary["tasks"]["match"]["methods"]["chance"]["conditions"]["clean"]["versus"]["late"]["mean"] < 0


def test_only_cells_that_two_methods_share_are_compared(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, GRID))
    made = [
        (cell, record(cell, CORRECT[cell.row.name][cell.fold or 0]))
        for cell in cells(grid).values()
        if cell.name != "same/late-fold1-0"
    ]
    found = summarize(grid, made, 10)
    cmrl = found["tasks"]["same"]["methods"]["cmrl"]["conditions"]["clean"]
    assert cmrl["versus"]["late"]["mean"] == pytest.approx(0.1)
    assert cmrl["accuracy"]["mean"] == pytest.approx(29 / 40)
    assert report.markdown(found, "the command").startswith("**9 of 10 cells")


def test_temperatures_of_a_calibrated_baseline_are_in_the_notes(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, GRID))
    made = [(cell, record(cell, CORRECT[cell.row.name][cell.fold or 0])) for cell in cells(grid).values()]
    for cell, one in made:
        if cell.row.name == "chance":
            one["temperatures"] = {"audio": 1.5 + (cell.fold or 0), "visual": 0.75}
    found = summarize(grid, made, len(made))
    methods = found["tasks"]["same"]["methods"]
    assert methods["chance"]["temperatures"]["audio"]["values"] == [1.5, 2.5]
    assert methods["late"]["temperatures"] == {}
    notes = [line for line in report.markdown(found, "the command").splitlines() if "calibrated" in line]
    assert len(notes) == 1
    assert notes[0].startswith("- chance: ")
    assert notes[0].endswith("validation split: audio 1.50 to 2.50, visual 0.75 to 0.75")


def test_a_stale_clean_condition_leaves_the_others(tmp_path: Path) -> None:
    """As after an edit of ``grid.contribution``, before the cells are tested again."""
    grid = read_grid(write(tmp_path, GRID.replace("conditions = []", "")))
    made = [(cell, record(cell, CORRECT[cell.row.name][cell.fold or 0])) for cell in cells(grid).values()]
    for _, one in made:
        del one["conditions"]["clean"]
    found = summarize(grid, made, len(made))
    assert found["tasks"]["same"]["samples"] == 20
    report.write(found, tmp_path, "the command")
    assert "| late |  | 60.0 ± 23.1 |" in (tmp_path / "results.md").read_text()


def test_the_page_has_every_table_and_says_how_it_was_made(summary: dict[str, Any], tmp_path: Path) -> None:
    report.write(summary, tmp_path, "the command")
    page = (tmp_path / "results.md").read_text()
    assert "| late | 60.0 ± 23.1 | 60.0 ± 23.1 |" in page
    assert "| cmrl | +12.5 ± 8.0" in page
    assert "| cmrl | 60.0 | 60.0 |" in page  # the worst speaker
    assert "Gain over the own-fed control" in page
    for text in ("## match", "the command", "honest protocol", "three learning rates", "folds 0, 1; seeds 0"):
        assert text in page
    assert "- `deaf`: no audio" in page
    assert "cmrl: neuron layers that never fired in one run or more: fusion.neuron" in page
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "| 2 | late | 60.0 ± 23.1 | 3.0 |  |" in page  # no better than cmrl, at the same energy
    assert "](front.png)" in page
    assert (summary["tasks"]["same"]["ranking"], summary["tasks"]["same"]["front"]) == (
        ["cmrl", "late", "chance"],
        ["cmrl"],
    )
    assert report.PAGE == "results.md"


def test_a_document_may_ask_for_a_part_of_a_table(summary: dict[str, Any]) -> None:
    task = tables.chosen(summary["tasks"]["same"], ["cmrl", "chance"], ["deaf"])
    assert tables.named(task, "accuracy")[0] == "| method | deaf |"
    assert [line.split(" | ")[0] for line in tables.named(task, "accuracy")[2:]] == ["| cmrl", "| chance"]
    assert tables.named(task, "versus", "late")[2].startswith("| cmrl | +12.5")
    assert tables.named(task, "macro_f1")[2] == "| cmrl | 36.3 |"
    assert tables.named(task, "costs")[2] == "| cmrl | 1,000 | 2.00 | 0.100 | 3.0 | 7 |"
    assert tables.named(task, "contribution")[2:] == [
        "| cmrl | deaf | audio from visual | 20.0 | 0.50 | -30.0 | -20.0 | -25.0 |",
        "| cmrl | deaf | visual from audio | 0.0, dead in 2 of 2 |  | +0.0 | +0.0 | +0.0 |",
    ]
    assert tables.named(task, "alone")[2:] == ["| cmrl | deaf | 25.0 | 50.0 | blank |"]
    with pytest.raises(KeyError):
        tables.chosen(summary["tasks"]["same"], ["cmlr"], [])
    with pytest.raises(KeyError):
        tables.named(task, "acuracy")


def test_without_groups_the_cells_are_what_varies(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, GRID))
    made = []
    for cell in cells(grid).values():
        one = record(cell, CORRECT[cell.row.name][cell.fold or 0])
        one["conditions"] = {name: {**tested, "groups": {}} for name, tested in one["conditions"].items()}
        made.append((cell, one))
    task = summarize(grid, made, len(made))["tasks"]["same"]
    found = task["methods"]["late"]["conditions"]["clean"]
    assert task["cluster"] is None
    assert found["worst"] is None
    assert found["accuracy"]["mean"] == pytest.approx(0.6)
    assert found["accuracy"]["low"] < 0.2  # two folds say little
    assert found["accuracy"]["high"] > 0.9
