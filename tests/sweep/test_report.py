from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from blob_data import ENTRY
from sweep_files import FILE, read, work

from scmrl_plugins.registry import catalogue
from scmrl_plugins.sweep import report
from scmrl_plugins.sweep.directory import SweepDirectory

ONE_THRESHOLD = "space.neuron.threshold=[0.3]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a sweep of two trials left."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
        patch.setenv("SCMRL_CACHE", str(folder / "cache"))
        work(read(folder, FILE, ONE_THRESHOLD), folder / "out")
    return folder / "out"


@pytest.fixture
def directory(trained: Path, tmp_path: Path) -> SweepDirectory:
    """A copy of it."""
    return SweepDirectory(Path(shutil.copytree(trained, tmp_path / "out")))


def test_trials_are_runs_and_the_table_ranks_them(tmp_path: Path, directory: SweepDirectory) -> None:
    sweep = read(tmp_path, FILE, ONE_THRESHOLD)
    summary = report.summarize(sweep, sweep.trials(), directory)
    assert summary["count"] == {"done": 2, "failed": 0, "stopped": 0, "waiting": 0}
    ranks = [(-trial["validation_accuracy"], trial["validation_loss"]) for trial in summary["trials"]]
    assert ranks == sorted(ranks)
    assert summary["best"] == summary["trials"][0]["trial"]
    by_loss = read(tmp_path, FILE, ONE_THRESHOLD, "sweep.metric=validation_loss")
    by_f1 = read(tmp_path, FILE, ONE_THRESHOLD, "sweep.metric=validation_macro_f1")
    ranked = report.summarize(by_f1, by_f1.trials(), directory)
    scores = [trial["validation_macro_f1"] for trial in ranked["trials"]]
    assert scores == sorted(scores, reverse=True)
    assert "| trial | train.lr | neuron.threshold | validation macro F1, % | test" in report.markdown(ranked, "it")
    losses = [t["validation_loss"] for t in report.summarize(by_loss, by_loss.trials(), directory)["trials"]]
    assert losses == sorted(losses)
    for trial in summary["trials"]:
        lines = directory.run(trial["trial"]).metrics()
        assert lines[-1]["accuracy"] == trial["test_accuracy"]
        assert lines[trial["best_epoch"] - 1]["validation_accuracy"] == trial["validation_accuracy"]

    report.write(summary, tmp_path / "out", "the command")
    table = (tmp_path / "out" / "results.md").read_text()
    best = summary["trials"][0]
    assert "| trial | train.lr | neuron.threshold | validation accuracy, % | test accuracy, % |" in table
    assert f"| {best['trial']} | {best['settings']['train.lr']} |" in table
    assert all(words in table for words in ("honest", "the command", "torch ", "ray ", "train.seed 42"))
    assert json.loads((tmp_path / "out" / "results.json").read_text())["best"] == best["trial"]
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_results_from_before_a_metric_was_added_are_ranked(tmp_path: Path, directory: SweepDirectory) -> None:
    sweep = read(tmp_path, FILE, ONE_THRESHOLD)
    for trial in sweep.trials():
        file = directory.result_file(trial.name)
        result = json.loads(file.read_text())
        for key in [key for key in result if key.endswith("macro_f1")]:
            del result[key]
        file.write_text(json.dumps(result))
    summary = report.summarize(sweep, sweep.trials(), directory)
    assert summary["count"]["done"] == 2
    page = report.markdown(summary, "the command")
    assert "| trial | validation accuracy, % | validation loss | test accuracy, % | test loss |" in page
