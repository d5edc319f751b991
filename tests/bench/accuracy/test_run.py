"""Cells that are made: each once, resumed where it stopped, tested under every condition, and never stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from blob_data import ENTRY, Blobs
from filelock import FileLock
from grid_files import SMALL, write

from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.bench.accuracy.records import Directory, Record
from scmrl_plugins.bench.accuracy.run import Bench
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.slow


def bench(path: Path, out: Path) -> Bench:
    return Bench(read_grid(path), Directory(out), torch.device("cpu"), Progress.silent())


def run(path: Path, out: Path) -> dict[str, Record]:
    made = bench(path, out)
    made.make_all(list(made.cells))
    return {cell.name: record for cell, record in made.made()}


def figures(records: dict[str, Record]) -> dict[str, Any]:
    """What must be the same in every repetition: all but times and dates."""
    return {
        name: {key: record.get(key) for key in ("cell", "made_with", "weights", "conditions", "costs")}
        for name, record in records.items()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    """A directory in which the small grid was made, and its records."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as context:
        context.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
        context.setenv("SCMRL_CACHE", str(folder / "cache"))
        return folder / "out", run(write(folder, SMALL), folder / "out")


@pytest.fixture
def out(trained: tuple[Path, dict[str, Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that directory, in which nothing is to be trained."""
    shutil.copytree(trained[0], tmp_path / "out")
    monkeypatch.setattr(Training, "fit", lambda *_: pytest.fail("trained again"))
    return tmp_path / "out"


def test_results_are_those_of_the_runs(trained: tuple[Path, dict[str, Record]]) -> None:
    folder, records = trained
    assert list(records) == ["late-3", "spatial-3"]
    for name, record in records.items():
        tested = json.loads((folder / "runs" / name / "metrics.jsonl").read_text().splitlines()[-1])
        clean = record["conditions"]["clean"]["metrics"]
        assert (clean["accuracy"], clean["loss"]) == (tested["accuracy"], tested["loss"])
        assert record["conditions"]["nothing"]["metrics"]["accuracy"] == pytest.approx(1 / 3)  # one answer for all
        assert record["protocol"] == "honest"
        assert record["training"]["epochs"] == 2
        costs = record["costs"]
        assert costs["energy_lemaire_joules"] > costs["energy_joules"] > costs["energy_int8_joules"] > 0
        assert costs["energy_joules"] == pytest.approx(
            4.6e-12 * costs["multiply_accumulates"] + 0.9e-12 * costs["accumulates"]
        )
        assert json.loads((folder / "cells" / f"{name}.json").read_text()) == record


def test_a_finished_cell_is_kept(trained: tuple[Path, dict[str, Record]], out: Path, tmp_path: Path) -> None:
    assert run(write(tmp_path, SMALL), out) == trained[1]


def test_a_stopped_grid_resumes_with_the_same_figures(
    trained: tuple[Path, dict[str, Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first epoch of the second cell: the same to the last digit."""
    path = write(tmp_path, SMALL)
    save, count = weights.save_training, 0

    def stop(*args: Any) -> None:
        nonlocal count
        save(*args)
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    (tmp_path / "out" / "runs" / "late-3" / "checkpoints").mkdir(parents=True)  # as a kill leaves it
    with monkeypatch.context() as context:
        context.setattr(weights, "save_training", stop)
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "out")
    assert [cell.name for cell, _ in bench(path, tmp_path / "out").made()] == ["late-3"]
    before = (tmp_path / "out" / "cells" / "late-3.json").stat().st_mtime_ns
    again = run(path, tmp_path / "out")
    assert (tmp_path / "out" / "cells" / "late-3.json").stat().st_mtime_ns == before
    assert figures(again) == figures(trained[1])


def test_what_another_process_makes_comes_last(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(out / "cells")
    lock, written, write_record = FileLock(out / "runs" / "late-3.lock"), [], Directory.write

    def write_and_release(directory: Directory, name: str, record: Record) -> Record:
        written.append(name)
        lock.release()
        return write_record(directory, name, record)

    monkeypatch.setattr(Directory, "write", write_and_release)
    with lock:
        run(write(tmp_path, SMALL), out)
    assert written == ["spatial-3", "late-3"]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("noise = { audio = -20 }", "noise = { audio = 40 }", {"noisy"}),
        ("seeds = [3]", "seeds = [3]\nnoise_seed = 5", {"clean", "noisy", "nothing"}),
        ('dropped = ["audio", "visual"]', 'dropped = ["audio"]', {"nothing"}),
        (
            "[[condition]]",
            '[[condition]]\nname = "hidden"\nocclusion = { visual = 0.5 }\n\n[[condition]]',
            {"hidden"},
        ),
    ],
)
def test_a_changed_condition_is_tested_again_on_the_same_network(
    trained: tuple[Path, dict[str, Record]], out: Path, tmp_path: Path, old: str, new: str, changed: set[str]
) -> None:
    first = trained[1]["spatial-3"]
    path = write(tmp_path, SMALL.replace(old, new, 1))
    # A report shows no stale figures, and no cell of which all are stale.
    made = {cell.name: record["conditions"].keys() for cell, record in bench(path, out).made()}
    assert made.get("spatial-3", set()) == first["conditions"].keys() - changed
    second = run(path, out)["spatial-3"]
    before, after = first["conditions"], second["conditions"]
    assert {name for name in after if after[name] != before.get(name)} == changed
    assert (second["weights"], second["costs"]) == (first["weights"], first["costs"])
    if "40" in new:  # hardly any noise
        assert after["noisy"]["metrics"]["loss"] == pytest.approx(after["clean"]["metrics"]["loss"], abs=0.05)


def test_another_configuration_in_the_same_directory_is_refused(out: Path, tmp_path: Path) -> None:
    changed = write(tmp_path, SMALL.replace("epochs = 2", "epochs = 1"))
    with pytest.raises(UserError, match=r"late-3.json: made with another configuration \(train.epochs\); .* -o"):
        run(changed, out)
    with pytest.raises(UserError, match=r"late-3.json: made with another configuration"):
        bench(changed, out).made()
    (out / "cells" / "late-3.json").unlink()
    with pytest.raises(UserError, match=r"runs/late-3: made with another configuration; .* -o"):
        run(changed, out)


def test_other_features_are_refused(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blobs, "transform_key", lambda _: {"version": 2}, raising=False)
    with pytest.raises(UserError, match=r"late-3.json: made with another version of the features; .* -o"):
        run(write(tmp_path, SMALL), out)


def test_a_result_without_its_run_serves_until_there_is_more_to_test(
    trained: tuple[Path, dict[str, Record]], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a repository: then the network is trained again, and must be the same."""
    shutil.rmtree(out / "runs")
    assert run(write(tmp_path, SMALL), out) == trained[1]
    assert not (out / "runs").exists()
    monkeypatch.undo()
    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
    path = write(tmp_path, SMALL.replace("audio = -20", "audio = -10"))
    second = run(path, out)
    assert second["late-3"]["weights"] == trained[1]["late-3"]["weights"]
    (out / "cells" / "late-3.json").write_text(json.dumps({**trained[1]["late-3"], "weights": "0"}))
    with pytest.raises(UserError, match=r"runs/late-3: other weights than .*late-3.json was made with"):
        run(path, out)


def test_a_damaged_result_is_one_line(out: Path, tmp_path: Path) -> None:
    for text in ("{", "[]", "{}"):
        (out / "cells" / "late-3.json").write_text(text)
        with pytest.raises(UserError, match=r"late-3.json: (not a result|not JSON|has no JSON object).*remove it"):
            run(write(tmp_path, SMALL), out)


def test_a_mistake_in_the_last_method_is_reported_before_the_first_is_trained(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL.replace("neuron.threshold = 0.25", "neuron.treshold = 0.25"))
    with pytest.raises(UserError, match="treshold"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
