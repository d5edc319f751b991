"""Training runs: they learn, go on where they stopped, keep their protocol, and leave what they promise."""

from __future__ import annotations

import json
import shutil
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
from scmrl_plugins.core.run import environment, weights
from scmrl_plugins.core.run.directory import Run, create_run, next_directory, open_run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.explain import report
from scmrl_plugins.registry import UserError, catalogue

Small = Callable[..., Assembly]


def test_a_run_learns_and_leaves_what_it_promises(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=6"])
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
    measured = evaluate(again.model, again.loss, evaluation_loader(split, again.config), CPU)
    assert measured.as_dict() == result.as_dict()
    assert run.metrics()[-1]["accuracy"] == result.metrics["accuracy"]


def test_a_run_begins_with_its_configuration_and_environment(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.seed=7"])
    run = create_run(tmp_path / "run", parts)
    described = json.loads((run.path / "environment.json").read_text())
    assert described["seed"] == 7
    assert described["packages"].keys() == set(environment.PACKAGES)
    assert described["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {plugin["name"] for plugin in described["plugins"]} == {plugin.name for plugin in catalogue().plugins}
    assert described["python"]
    assert "git_commit" in described
    assert run.assemble().config.model_dump() == parts.config.model_dump()
    assert run.metrics() == []
    with pytest.raises(UserError, match="not trained to the end yet"):
        report.write(run)
    loaded = open_run(run.path).load_model()
    assert all(torch.equal(t, parts.model.state_dict()[name]) for name, t in loaded.state_dict().items())


def test_a_directory_in_use_is_left_alone(small: Small, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match="already exists"):
            create_run(path, small())
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["mine.txt"]
    with pytest.raises(UserError, match="no run there"):
        open_run(tmp_path)
    (tmp_path / "run-001").mkdir()
    assert next_directory(tmp_path, "run") == tmp_path / "run-002"


def truncated(run: Run, path: Path, after: int) -> Run:
    """A copy of a run as it was after an epoch, had it been stopped there."""
    shutil.copytree(run.path, path)
    copy = Run(path)
    saved = copy.checkpoints()
    for later in saved[saved.index(copy.checkpoint_file(after)) + 1 :]:
        later.unlink()
    return copy


@pytest.mark.parametrize("after", [1, 2])
def test_a_run_that_went_on_is_the_same_run(small: Small, tmp_path: Path, after: int) -> None:
    parts = small(sets=["train.epochs=4", "train.keep_checkpoints=9", "encoder.name=rate"])
    whole = create_run(tmp_path / "whole", parts)
    result = fit(whole, parts)

    torch.manual_seed(99)
    resumed = truncated(whole, tmp_path / "resumed", after)
    again = fit(resumed)

    assert resumed.weights_file.read_bytes() == whole.weights_file.read_bytes()
    ends = [load_file(run.checkpoint_file(4)) for run in (whole, resumed)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    def figures(run: Run) -> list[dict[str, Any]]:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in run.metrics()]

    assert [line["epoch"] for line in epochs(resumed)] == [1, 2, 3, 4]
    assert figures(resumed) == figures(whole)
    assert again.as_dict() == result.as_dict()


@pytest.fixture
def whole(small: Small, tmp_path: Path) -> Run:
    """A run of two epochs that nothing stopped."""
    parts = small(sets=["train.epochs=2"])
    run = create_run(tmp_path / "whole", parts)
    fit(run, parts)
    return run


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("fails", ["save_weights", "save_training", "add_metrics"])
def test_wherever_saving_stops_the_run_goes_on_as_the_same(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Run, fails: str, epoch: int
) -> None:
    # Both epochs are the best so far, so each step of saving is taken in each of them.
    assert [line["best_epoch"] for line in whole.metrics() if "best_epoch" in line] == [2]
    parts = small(sets=["train.epochs=2"])
    run = create_run(tmp_path / "run", parts)
    owner: Any = Run if fails == "add_metrics" else weights
    original = getattr(owner, fails)
    calls: list[str] = []

    def stop(*args: Any) -> None:
        calls.append(fails)
        if len(calls) == epoch:  # each is called once an epoch
            raise KeyboardInterrupt
        original(*args)

    with monkeypatch.context() as patched:
        patched.setattr(owner, fails, stop)
        with pytest.raises(KeyboardInterrupt):
            fit(run, parts)
    assert len(calls) == epoch
    fit(run)
    assert [line["epoch"] for line in epochs(run)] == [1, 2]
    assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()


def test_a_finished_run_is_only_tested_again(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=2"])
    run = create_run(tmp_path / "run", parts)
    result = fit(run, parts)
    before, content = run.metrics(), run.weights_file.read_bytes()
    assert fit(run).as_dict() == result.as_dict()
    assert run.metrics() == before
    assert run.weights_file.read_bytes() == content


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


# Trouble ----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_with_a_line(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=3"])
    run = create_run(tmp_path / "run", parts)

    def poison(training: Training, step: Any, _batches: list[Any]) -> StepResult:
        if training.state.epoch == 1:
            with torch.no_grad():
                parts.model.readout.head.bias.fill_(float("nan"))
        return step()

    with pytest.raises(UserError, match=r"is nan in epoch 2, step 1 \(samples train-.*: try a smaller"):
        fit(run, parts, poison)
    assert [line["epoch"] for line in epochs(run)] == [1]
    assert [path.name for path in run.checkpoints()] == ["epoch-00001.safetensors"]
    saved = load_file(run.checkpoint_file(1))
    assert all(tensor.isfinite().all() for tensor in saved.values() if tensor.is_floating_point())
    assert run.load_model().readout.head.bias.isfinite().all()
    fit(run)
    assert [line["epoch"] for line in epochs(run)] == [1, 2, 3]


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_checkpoints_are_kept_as_asked_for(small: Small, tmp_path: Path, keep: int) -> None:
    parts = small(sets=["train.epochs=4", f"train.keep_checkpoints={keep}"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    assert run.checkpoints() == [run.checkpoint_file(epoch) for epoch in range(5 - keep, 5)]


def test_gradients_are_clipped(small: Small, tmp_path: Path) -> None:
    runs = []
    for name, clip in (("free", []), ("clipped", ["train.clip_grad=1e-12"])):
        parts = small(sets=["train.epochs=1", "train.optimizer=sgd", "train.weight_decay=0.0", *clip])
        before = parts.model.readout.head.weight.detach().clone()
        fit(create_run(tmp_path / name, parts), parts)
        runs.append((parts.model.readout.head.weight.detach() - before).abs().max().item())
    assert runs[1] < 1e-9 < 1e-4 < runs[0]


def test_an_optimiser_that_timm_does_not_have_is_named(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.optimizer=adamv"])
    with pytest.raises(UserError, match=r"train\.optimizer = 'adamv'"):
        fit(create_run(tmp_path / "run", parts), parts)


def test_a_changed_run_is_refused(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=1"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    text = run.config_file.read_text()
    files.write_text(run.config_file, text.replace("embed_dims = 8", "embed_dims = 16"))
    with pytest.raises(UserError, match=r"was config\.toml changed"):
        run.load_model()
    files.write_text(run.config_file, text)
    run.metrics_file.write_text("{half a li\n")
    with pytest.raises(UserError, match="not JSON lines"):
        fit(run)
