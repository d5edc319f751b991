"""Grids that are run: each cell once, resumed where it stopped, and tested under every condition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from grid_files import FILE, write

from scmrl_plugins.bench.accuracy import report
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.bench.accuracy.run import run_grid
from scmrl_plugins.core.evaluation.metrics import METRICS
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError


def run(path: Path, out: Path) -> list[dict[str, Any]]:
    return run_grid(read_grid(path), out, torch.device("cpu"), Progress())


@pytest.mark.slow
def test_results_are_those_of_the_runs(tmp_path: Path) -> None:
    results = run(write(tmp_path), tmp_path / "out")
    assert [(r["method"], r["seed"]) for r in results] == [
        ("late", 3),
        ("spatial", 3),
        ("late", 4),
        ("spatial", 4),
    ]
    for result in results:
        lines = (tmp_path / "out" / "runs" / f"{result['method']}-{result['seed']}" / "metrics.jsonl").read_text()
        tested = json.loads(lines.splitlines()[-1])
        clean = result["conditions"]["clean"]
        assert (clean["accuracy"], clean["loss"]) == (tested["accuracy"], tested["loss"])
        assert result["conditions"]["nothing"]["accuracy"] == pytest.approx(1 / 3)  # one answer for all
        assert result["protocol"] == "honest"
        assert len(result["epochs"]) == 2
        assert result["energy_joules"] > 0

    summary = report.summarize(results)
    late = summary["methods"]["late"]["conditions"]["clean"]
    assert late["values"] == [
        results[0]["conditions"]["clean"]["accuracy"],
        results[2]["conditions"]["clean"]["accuracy"],
    ]
    assert late["mean"] == pytest.approx(sum(late["values"]) / 2)
    assert late["std"] == pytest.approx(abs(late["values"][0] - late["values"][1]) / 2**0.5)

    # A result that was made before a metric was added.
    for condition in results[1]["conditions"].values():
        del condition["macro_f1"]
    assert report.summarize(results)["methods"]["late"]["metrics"].keys() == {"accuracy", "loss"}

    report.write(summary, tmp_path / "out", "the command")
    table = (tmp_path / "out" / "results.md").read_text()
    assert table.count("| method | clean | noisy | nothing |") == len(METRICS) - 1  # one is by class
    assert f"| late | {100 * late['mean']:.1f} ± {100 * late['std']:.1f} |" in table
    assert "honest" in table
    assert "the command" in table
    assert json.loads((tmp_path / "out" / "results.json").read_text())["methods"].keys() == {"late", "spatial"}
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_cell_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write(tmp_path), tmp_path / "out"
    first = run(path, out)
    monkeypatch.setattr(Training, "fit", lambda *_: pytest.fail("trained again"))
    assert run(path, out) == first


@pytest.mark.slow
def test_a_stopped_grid_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the first epoch of the second cell, and while the third was made: the same results."""
    path = write(tmp_path)
    undisturbed = run(path, tmp_path / "undisturbed")
    save, count = weights.save_training, 0

    def stop(*args: Any) -> None:
        nonlocal count
        save(*args)
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(weights, "save_training", stop)
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "out")
    (tmp_path / "out" / "runs" / "late-4" / "checkpoints").mkdir(parents=True)  # as a kill leaves it
    before = (tmp_path / "out" / "cells" / "late-3.json").stat().st_mtime_ns
    again = run(path, tmp_path / "out")
    assert (tmp_path / "out" / "cells" / "late-3.json").stat().st_mtime_ns == before
    for one, other in zip(undisturbed, again, strict=True):
        assert one["conditions"] == other["conditions"]
        assert (one["firing_rate"], one["energy_joules"]) == (other["firing_rate"], other["energy_joules"])


@pytest.mark.slow
def test_another_configuration_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    run(write(tmp_path, FILE.replace("seeds = [3, 4]", "seeds = [3]")), tmp_path / "out")
    changed = write(tmp_path, FILE.replace("epochs = 2", "epochs = 1").replace("[3, 4]", "[3]"))
    with pytest.raises(UserError, match=r"late-3.json: made with another configuration; .* -o"):
        run(changed, tmp_path / "out")
    (tmp_path / "out" / "cells" / "late-3.json").unlink()
    with pytest.raises(UserError, match=r"runs/late-3: made with another configuration; .* -o"):
        run(changed, tmp_path / "out")


@pytest.mark.slow
def test_a_new_condition_tests_existing_runs(tmp_path: Path) -> None:
    text = FILE.replace("seeds = [3, 4]", "seeds = [3]")
    (late, _) = run(write(tmp_path, text), tmp_path / "out")
    more = text + '\n[[condition]]\nname = "hidden"\nocclusion = { visual = 0.5 }\n'
    (again, _) = run(write(tmp_path, more), tmp_path / "out")
    assert again["epochs"] == late["epochs"]
    assert again["conditions"].keys() == {"clean", "noisy", "nothing", "hidden"}
    assert again["conditions"]["noisy"] == late["conditions"]["noisy"]


@pytest.mark.slow
def test_a_damaged_result_is_one_line(tmp_path: Path) -> None:
    text = FILE.replace("seeds = [3, 4]", "seeds = [3]")
    run(write(tmp_path, text), tmp_path / "out")
    (tmp_path / "out" / "cells" / "late-3.json").write_text("{")
    with pytest.raises(UserError, match="not a result"):
        run(tmp_path / "grid.toml", tmp_path / "out")
