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
from torch.nn.functional import cross_entropy

from scmrl_plugins.bench.accuracy.baselines import rules
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.bench.accuracy.records import Directory
from scmrl_plugins.bench.accuracy.run import Bench
from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.disturbance import Disturbance, DisturbedData
from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.evaluation.predictions import read_predictions
from scmrl_plugins.core.run.directory import open_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.slow


CACHED = 'train = { freeze = ["audio", "visual"], cache_tokens = true }'


def bench(folder: Path, text: str = TASKS) -> Bench:
    grid = read_grid(write(folder, text))
    return Bench(grid, Directory(folder / "out"), torch.device("cpu"), Progress.silent())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three cells were asked for, which need two others."""
    folder = tmp_path_factory.mktemp("needs")
    with pytest.MonkeyPatch.context() as context:
        context.setattr(catalogue(), "entries", [*catalogue().entries, BLOBS, ENTRY])
        context.setenv("SCMRL_CACHE", str(folder / "cache"))
        bench(folder).make_all(["match/late-fold1-3", "same/experts-fold1-3", "match/experts-fold1-3"])
    return folder


def test_what_a_cell_needs_is_made_first(trained: Path) -> None:
    made = {cell.name: record for cell, record in bench(trained).made()}
    names = ("same/audio", "same/visual", "match/late", "same/experts", "match/experts")
    assert set(made) == {f"{name}-fold1-3" for name in names}
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


def test_a_method_has_others_of_the_grid_for_teachers(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "out", tmp_path / "out")
    taught = """[[method]]
name = "taught"
tasks = ["same"]
teachers = { audio = "same/audio", visual = "same/visual" }
fusion.name = "late"
modulation.name = "g2d"

[[condition]]"""
    found = bench(tmp_path, TASKS.replace("[[condition]]", taught, 1))
    found.make_all(["same/taught-fold1-3"])
    made = {cell.name: record for cell, record in found.made()}
    record = made["same/taught-fold1-3"]
    assert set(record["made_with"]["needs"]) == {"same/audio-fold1-3", "same/visual-fold1-3"}
    assert {"audio_alone", "visual_alone"} <= record["conditions"]["clean"]["metrics"].keys()
    environment = json.loads((tmp_path / "out/runs/same/taught-fold1-3/environment.json").read_text())
    assert environment["teachers"]["audio"]["sha256"] == made["same/audio-fold1-3"]["weights"]


def test_a_product_is_made_of_the_networks_calibrated_predictions(trained: Path) -> None:
    """By sample, under every condition, as the files of predictions have them."""
    directory = bench(trained).directory
    record = directory.read("same/experts-fold1-3")
    assert record is not None
    for condition in ("clean", "noisy"):
        found, audio, visual = (
            read_predictions(directory.predictions_file(f"same/{name}-fold1-3", condition))[0]
            for name in ("experts", "audio", "visual")
        )
        assert found.ids == audio.ids == visual.ids
        calibrated = {
            name: (one.logits.double() / record["temperatures"][name]).softmax(1).numpy()
            for name, one in (("audio", audio), ("visual", visual))
        }
        product = rules.same(**calibrated)
        np.testing.assert_allclose(found.logits.double().softmax(1).numpy(), product, atol=1e-5)
        assert set(found.groups["speaker"]) == {"ada1", "ben1"}
    right = sum(correct for _, correct in record["conditions"]["noisy"]["groups"]["speaker"].values())
    assert right == int((found.predicted == found.targets).sum())


def test_a_network_is_calibrated_on_the_validation_split_of_its_own_task(trained: Path) -> None:
    """No other temperature is more likely there; a baseline of another task has the same one."""
    made = {cell.name: record for cell, record in bench(trained).made()}
    temperatures = made["same/experts-fold1-3"]["temperatures"]
    assert made["match/experts-fold1-3"]["temperatures"] == temperatures
    assert "temperatures" not in made["same/audio-fold1-3"]
    for modality, fitted in temperatures.items():
        _, parts = bench(trained).run(f"same/{modality}-fold1-3")
        split = load_splits(parts.dataset, parts.config, ["validation"])["validation"]
        loader = evaluation_loader(split, parts.config)
        found = evaluate(parts.model, parts.loss, loader, torch.device("cpu")).predictions
        losses = [
            float(cross_entropy(found.logits.double() / (fitted * factor), found.targets))
            for factor in (0.9, 1, 1.1)
        ]
        assert min(losses) == losses[1]
        assert fitted != 1


def test_conditions_are_tested_on_stored_tokens(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers are those of the complete network to the disturbed inputs."""
    cached = TASKS.replace('train.freeze = ["audio", "visual"]', CACHED)
    assert cached != TASKS
    shutil.copytree(trained / "out", tmp_path / "out")
    made = bench(tmp_path, cached)
    original, drawn = DisturbedData.drawn, []
    monkeypatch.setattr(DisturbedData, "drawn", lambda data, draw: drawn.append(draw) or original(data, draw))
    made.make("same/late-fold1-3")
    assert drawn, "no disturbed sample became tokens"
    _, parts = made.run("same/late-fold1-3")
    split = load_splits(parts.dataset, parts.config, ["test"])["test"]
    for name, disturbance in (("clean", Disturbance()), ("noisy", Disturbance(noise={"audio": -5}))):
        found, _ = read_predictions(made.directory.predictions_file("same/late-fold1-3", name))
        loader = evaluation_loader(split, parts.config)
        expected = evaluate(parts.model, parts.loss, loader, torch.device("cpu"), disturbance=disturbance)
        log_probabilities = expected.predictions.logits.double().log_softmax(1)
        torch.testing.assert_close(found.logits.log_softmax(1), log_probabilities, rtol=1e-4, atol=1e-4)


def test_a_baseline_of_an_earlier_version_is_computed_again(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks are neither trained nor tested again."""
    monkeypatch.setattr(Training, "fit", lambda *_: pytest.fail("trained"))
    shutil.copytree(trained / "out", tmp_path / "out")
    cells = tmp_path / "out" / "cells" / "same"
    before = {path.name: path.read_bytes() for path in cells.glob("*.json")}
    record = json.loads(before["experts-fold1-3.json"])
    del record["made_with"]["baseline"]["version"]
    (cells / "experts-fold1-3.json").write_text(json.dumps({**record, "temperatures": {}}))
    assert "same/experts-fold1-3" not in {cell.name for cell, _ in bench(tmp_path).made()}
    again = bench(tmp_path).make("same/experts-fold1-3")
    first = json.loads(before.pop("experts-fold1-3.json"))
    assert (again["temperatures"], again["conditions"]) == (first["temperatures"], first["conditions"])
    assert before == {name: (cells / name).read_bytes() for name in before}


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
