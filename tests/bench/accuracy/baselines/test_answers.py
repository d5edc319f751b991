"""Baselines on data whose truth is known, and what they say of the networks that they combine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from grid_files import TASKS, write

from scmrl_plugins.bench.accuracy.baselines.answers import answers
from scmrl_plugins.bench.accuracy.baselines.material import Arrays, Material
from scmrl_plugins.bench.accuracy.cells import Cell, cells
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import CLEAN
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.registry import UserError


class Listener(Material):
    """Opinions that are right about the sound and the picture with certainty, where neither is left out."""

    def opinions(self, split: str, condition: Disturbance = CLEAN) -> Arrays:
        rows = self.parts.dataset.splits()[split]
        certain = {name: np.eye(3)[rows[f"{name}_class"]] for name in ("audio", "visual")}
        return {
            name: np.full_like(one, 1 / 3) if name in condition.dropped else one for name, one in certain.items()
        }


def material(folder: Path, name: str, spread: float = 0.3) -> tuple[Cell, Listener]:
    cell = cells(read_grid(write(folder, TASKS), [f"dataset.spread={spread}"]))[name]
    return cell, Listener(cell, assemble(cell.config), lambda _: pytest.fail("trains"), torch.device("cpu"), 0)


def answered(folder: Path, name: str, condition: Disturbance = CLEAN) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of a baseline, and the labels."""
    cell, given = material(folder, name)
    assert cell.baseline is not None
    return answers(cell.baseline, given)(condition), given.split("test").labels


def test_chance_knows_the_frequencies_of_the_training_split(tmp_path: Path) -> None:
    found, labels = answered(tmp_path, "match/chance-fold0-3")
    assert found.shape == (len(labels), 2)
    assert (found == found[0]).all()
    assert found[0].sum() == pytest.approx(1)
    assert found[0, 0] > found[0, 1]  # a random picture shows another class more often than the same


def test_a_linear_model_separates_what_can_be_separated_and_nothing_else(tmp_path: Path) -> None:
    found, labels = answered(tmp_path, "same/linear-fold0-3")
    assert (found.argmax(1) == labels).mean() == 1
    deaf, _ = answered(tmp_path, "same/linear-fold0-3", Disturbance(dropped=("audio", "visual")))
    assert (deaf == deaf[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["same", "match", "sum"])
def test_a_pipeline_of_perfect_networks_is_perfect(tmp_path: Path, task: str) -> None:
    found, labels = answered(tmp_path, f"{task}/experts-fold1-3")
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found.argmax(1) == labels).all()
    without, _ = answered(tmp_path, f"{task}/experts-fold1-3", Disturbance(dropped=("audio",)))
    if task == "same":
        assert (without.argmax(1) == labels).all()
    else:  # without the sound, the picture says nothing about the sum
        np.testing.assert_allclose(without, np.tile(without[0], (len(labels), 1)))


def test_a_pipeline_reads_the_cue(tmp_path: Path) -> None:
    """The first row of the picture says which class counts: it is learnt from the training samples."""
    found, labels = answered(tmp_path, "select/experts-fold0-3")
    assert (found.argmax(1) == labels).mean() == 1


def test_a_task_without_a_rule_is_one_line(tmp_path: Path) -> None:
    cell, given = material(tmp_path, "same/experts-fold0-3")
    given.parts.config.dataset.model_extra["task"] = "difference"
    assert cell.baseline is not None
    with pytest.raises(
        UserError, match=r"experts: no rule for dataset.task = 'difference' .* rules for same, match"
    ):
        answers(cell.baseline, given)
