"""Cells that start from others: made first, with the weights that they name, and never from other ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from blob_data import ENTRY as BLOBS
from grid_files import TASKS, write
from task_data import ENTRY

from scmrl_plugins.bench.accuracy.baselines import rules
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.bench.accuracy.records import Directory
from scmrl_plugins.bench.accuracy.run import Bench
from scmrl_plugins.core.evaluation.predictions import read_predictions
from scmrl_plugins.core.run.directory import open_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.slow


def bench(folder: Path, text: str = TASKS) -> Bench:
    grid = read_grid(write(folder, text))
    return Bench(grid, Directory(folder / "out"), torch.device("cpu"), Progress.silent())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two cells were asked for, which need two others."""
    folder = tmp_path_factory.mktemp("needs")
    with pytest.MonkeyPatch.context() as context:
        context.setattr(catalogue(), "entries", [*catalogue().entries, BLOBS, ENTRY])
        context.setenv("SCMRL_CACHE", str(folder / "cache"))
        bench(folder).make_all(["match/late-fold1-3", "same/experts-fold1-3"])
    return folder


def test_what_a_cell_needs_is_made_first(trained: Path) -> None:
    made = {cell.name: record for cell, record in bench(trained).made()}
    assert set(made) == {f"{name}-fold1-3" for name in ("same/audio", "same/visual", "match/late", "same/experts")}
    assert made["match/late-fold1-3"]["made_with"]["needs"] == {
        name: made[name]["weights"] for name in ("same/audio-fold1-3", "same/visual-fold1-3")
    }
    runs = trained / "out" / "runs"
    late = open_run(runs / "match" / "late-fold1-3").load_model()
    audio = open_run(runs / "same" / "audio-fold1-3").load_model()
    frozen, origin = (dict(model.backbones["audio"].state_dict()) for model in (late, audio))
    assert all(torch.equal(frozen[name], origin[name]) for name in origin)
    assert len(late.classes) == 2
    assert made["match/late-fold1-3"]["conditions"]["clean"]["contribution"]
    assert made["same/audio-fold1-3"]["conditions"]["clean"]["contribution"] == {}


def test_a_product_is_made_of_the_networks_predictions(trained: Path) -> None:
    """By sample, under every condition, as the files of predictions have them."""
    directory = bench(trained).directory
    for condition in ("clean", "noisy"):
        found, audio, visual = (
            read_predictions(directory.predictions_file(f"same/{name}-fold1-3", condition))[0]
            for name in ("experts", "audio", "visual")
        )
        assert found.ids == audio.ids == visual.ids
        product = rules.same(*(one.logits.double().softmax(1).numpy() for one in (audio, visual)))
        np.testing.assert_allclose(found.logits.double().softmax(1).numpy(), product, atol=1e-5)
        assert set(found.groups["speaker"]) == {"ada1", "ben1"}
    record = directory.read("same/experts-fold1-3")
    assert record is not None
    right = sum(correct for _, correct in record["conditions"]["noisy"]["groups"]["speaker"].values())
    assert right == int((found.predicted == found.targets).sum())


def test_other_weights_of_what_is_needed_are_noticed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that began with them is refused; a baseline is computed again."""
    monkeypatch.setattr(Training, "fit", lambda *_: pytest.fail("trained"))
    shutil.copytree(trained / "out", tmp_path / "out")
    file = tmp_path / "out" / "cells" / "same" / "audio-fold1-3.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "weights": "0"}))
    with pytest.raises(UserError, match=r"match/late-fold1-3.json: made from another training .* remove it"):
        bench(tmp_path).make("match/late-fold1-3")
    assert "same/experts-fold1-3" not in {cell.name for cell, _ in _without_networks(bench(tmp_path)).made()}
    with pytest.raises(UserError, match=r"runs/same/audio-fold1-3: other weights than"):
        bench(tmp_path).make("same/experts-fold1-3")


def _without_networks(made: Bench) -> Bench:
    made.cells = {name: cell for name, cell in made.cells.items() if not name.startswith("match/late")}
    return made
