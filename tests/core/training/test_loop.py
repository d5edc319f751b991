"""Training runs: they learn, follow from their seed, and keep their protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from blob_data import SIZES, Blobs
from safetensors.torch import load_file
from trainings import CPU, ScriptedEvaluations, epochs, fit, trainer

import scmrl_plugins
from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.explain import report
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def test_a_single_sample_that_batch_norm_cannot_train_on_is_refused_before_training(small: Small) -> None:
    sets = ["model.steps=1", "model.image_size=4"]
    for batch in (47, 1):
        parts = small(sets=[*sets, f"train.batch_size={batch}"])
        before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
        with pytest.raises(UserError, match=r"^train.batch_size = \d+ leaves one of 48 .*batch norm needs"):
            trainer(parts).prepare()
        assert all(torch.equal(tensor, before[name]) for name, tensor in parts.model.state_dict().items())
    trainer(small(sets=[*sets, "train.batch_size=46"])).prepare()
    trainer(small(sets=["train.batch_size=47"])).prepare()  # it has several values per channel in one sample


def test_a_run_learns_and_leaves_what_it_promises(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=6"], fusion={"name": "cmrl"})
    run = create_run(tmp_path / "run", parts)
    result = fit(run, parts)

    lines = epochs(run)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["train_loss"] < lines[0]["train_loss"] * 0.8
    assert result.metrics["accuracy"] > 0.9
    assert result.n == SIZES["test"]
    assert {path.name for path in run.path.iterdir()} == {
        "config.toml",
        "environment.json",
        "model.safetensors",
        "metrics.jsonl",
        "checkpoints",
    }
    assert [path.name for path in run.checkpoints()] == ["epoch-00005.safetensors", "epoch-00006.safetensors"]

    for line in lines:
        assert line.keys() == {
            "epoch",
            "lr",
            "train_loss",
            "train_accuracy",
            "terms",
            "validation_loss",
            "validation_accuracy",
            "validation_macro_f1",
            "firing_rates",
            "seconds",
        }
        assert line["terms"].keys() == {"ce", "sao"}
        assert line["train_loss"] == pytest.approx(sum(line["terms"].values()), rel=1e-5)
    rates = [line["lr"] for line in lines]
    assert rates[0] == pytest.approx(0.02)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 1e-5

    # What is saved is what was measured.
    model = scmrl_plugins.load(run.path)
    assert not model.training
    again = run.assemble()
    split = load_splits(again.dataset, again.config)["test"]
    measured = evaluate(again.model, again.loss, evaluation_loader(split, again.config), CPU, blanked=True)
    assert measured.as_dict() == result.as_dict()
    assert run.metrics()[-1]["accuracy"] == result.metrics["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("ema", [[], ["train.ema=0.5"]])
def test_validation_test_and_evaluation_have_one_precision(small: Small, tmp_path: Path, ema: list[str]) -> None:
    run = create_run(tmp_path / "run", small(sets=["train.epochs=1", "train.precision=bf16", *ema]))
    tested = fit(run)
    parts = run.assemble()
    splits = load_splits(parts.dataset, parts.config)

    def loss(name: str) -> float:
        loader = evaluation_loader(splits[name], parts.config)
        return float(evaluate(parts.model, parts.loss, loader, CPU).metrics["loss"])

    assert loss("validation") == epochs(run)[0]["validation_loss"]
    assert loss("test") == tested.metrics["loss"] == run.metrics()[-1]["loss"]
    assert run.metrics()[-1]["precision"] == "bf16"
    full = parts.config.train.model_copy(update={"precision": "fp32"})
    parts.model.config = parts.config.model_copy(update={"train": full})
    assert loss("test") != tested.metrics["loss"]


@pytest.mark.slow
def test_a_finished_run_is_only_tested_again(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=2"])
    run = create_run(tmp_path / "run", parts)
    result = fit(run, parts)
    before, content = run.metrics(), run.weights_file.read_bytes()
    assert fit(run).as_dict() == result.as_dict()
    assert run.metrics() == before
    assert run.weights_file.read_bytes() == content


@pytest.mark.slow
def test_seeds_decide_the_run(small: Small, tmp_path: Path) -> None:
    found = []
    for name, seed, global_seed in (("a", 1, 0), ("b", 1, 5), ("c", 2, 0)):
        parts = small(sets=["train.epochs=1", f"train.seed={seed}", "encoder.name=rate"])
        run = create_run(tmp_path / name, parts)
        torch.manual_seed(global_seed)
        fit(run, parts)
        found.append(run.weights_file.read_bytes())
    assert found[0] == found[1] != found[2]


# Protocols --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_honest_chooses_by_validation_and_tests_once(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The smaller loss decides between epochs 2 and 3; epoch 4 is worse in accuracy alone.
    script = ScriptedEvaluations(monkeypatch, [(0.4, 0.1), (0.6, 2.0), (0.6, 1.0), (0.5, 0.1)])
    parts = small(sets=["train.epochs=4", "train.keep_checkpoints=9"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    assert script.splits == ["validation"] * 4 + ["test"]
    last = run.metrics()[-1]
    assert (last["best_epoch"], last["protocol"], last["n"]) == (3, "honest", SIZES["test"])
    chosen, best = load_file(run.weights_file), load_file(run.checkpoint_file(3))
    assert all(torch.equal(tensor, best[f"module.model.{name}"]) for name, tensor in chosen.items())
    later = load_file(run.checkpoint_file(4))
    assert not all(torch.equal(tensor, later[f"module.model.{name}"]) for name, tensor in chosen.items())
    report.write(run)
    assert "honest protocol" in run.report_file.read_text()


@pytest.mark.slow
def test_published_trains_on_validation_too_and_chooses_by_test(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ScriptedEvaluations(monkeypatch, [(0.4, 1.0), (0.9, 1.0), (0.5, 1.0)])
    parts = small(sets=["train.epochs=3", "train.protocol=published"])
    run = create_run(tmp_path / "run", parts)
    training = trainer(parts)
    training.fit(run)
    assert training.steps.sampler.length == SIZES["train"] + SIZES["validation"]
    assert script.splits == ["test"] * 4
    assert run.metrics()[-1]["best_epoch"] == 2
    assert [line["test_accuracy"] for line in epochs(run)] == [0.4, 0.9, 0.5]
    report.write(run)
    assert "published protocol" in run.report_file.read_text()
    assert "optimistic" in run.report_file.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("monitor", "best"), [("accuracy", 2), ("loss", 3)])
def test_the_monitored_figure_chooses_the_epoch(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monitor: str, best: int
) -> None:
    ScriptedEvaluations(monkeypatch, [(0.5, 0.9), (0.7, 0.8), (0.6, 0.4)])
    parts = small(sets=[f"train.monitor={monitor}"], fusion={"name": "late"})
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    assert run.metrics()[-1]["best_epoch"] == best


@pytest.mark.slow
def test_honest_training_sees_the_training_split_alone(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the validation and test samples are, the weights after an epoch are the same."""
    ends = []
    original = Blobs.splits
    for name in ("as it is", "changed"):
        if name == "changed":

            def changed(self: Blobs) -> Any:
                parts = original(self)
                for split in ("validation", "test"):
                    parts[split] = parts[split].map(lambda row: {"label": (row["label"] + 1) % 3})
                return parts

            monkeypatch.setattr(Blobs, "splits", changed)
        parts = small(sets=["train.epochs=2"])
        run = create_run(tmp_path / name, parts)
        fit(run, parts)
        ends.append(load_file(run.checkpoint_file(2)))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.slow
def test_two_processes_do_not_train_one_run(small: Small, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", small(sets=["train.epochs=1"]))
    with run.locked(), pytest.raises(UserError, match=r"another process trains this run; wait for it or stop it"):
        fit(run)
    fit(run)
