"""Options of a recipe: accumulated batches, scaled rates, frozen modalities, averages, patience."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import ScriptedEvaluations, trainer

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
LATE = {"name": "late"}


def fit(parts: Assembly, path: Path) -> tuple[Run, Training]:
    fitted = trainer(parts)
    run = create_run(path, parts)
    fitted.fit(run)
    return run, fitted


def weights(parts: Assembly) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.slow
def test_accumulated_batches_are_one_large_one(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for name, size, count in (("one", 24, 1), ("three", 8, 3)):
        sets = ["train.epochs=1", f"train.batch_size={size}", f"train.accumulate={count}", "train.optimizer=sgd"]
        parts = small(sets=sets, loss=[{"name": "ce"}], fusion=LATE)
        parts.model.eval()  # batch norm would see other batches
        monkeypatch.setattr(parts.model, "train", lambda mode=True, model=parts.model: model)
        steps: list[int] = []

        def counted(_training: Training, step: Any, batches: list[Any], steps: list[int] = steps) -> StepResult:
            steps.append(len(batches))
            return step()

        run = create_run(tmp_path / name, parts)
        trainer(parts, counted).fit(run)
        assert steps == [count, count]
        ends.append((weights(parts), run.metrics()[0]))
    for name, tensor in ends[0][0].items():
        torch.testing.assert_close(ends[1][0][name], tensor, rtol=1e-4, atol=1e-6)
    assert ends[1][1]["train_loss"] == pytest.approx(ends[0][1]["train_loss"], rel=1e-4)
    assert ends[1][1]["train_accuracy"] == ends[0][1]["train_accuracy"]


def test_a_frozen_modality_keeps_weights_and_statistics(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=1", 'train.freeze=["audio"]'], fusion=LATE)
    before = weights(parts)
    fit(parts, tmp_path / "run")
    moved = changed(before, weights(parts))
    assert not [name for name in moved if name.startswith(("backbones.audio", "encoders.audio"))]
    assert any(name.startswith("backbones.visual") and name.endswith("running_mean") for name in moved)
    assert any(name.startswith("backbones.visual") and name.endswith("weight") for name in moved)


def test_a_modality_that_is_not_there_cannot_be_frozen(small: Small) -> None:
    with pytest.raises(UserError, match=r"train\.freeze: the fusion does not use audio"):
        trainer(small(sets=['train.freeze=["audio"]'], fusion={"name": "visual"}))


@pytest.mark.slow
def test_rates_are_scaled_by_part_whatever_the_schedule(small: Small, tmp_path: Path) -> None:
    scales = {"backbones.audio": 0.0, "backbones": 0.5}
    parts = small(sets=["train.epochs=2"], train={"lr_scale": scales}, fusion=LATE)
    before = weights(parts)
    _, fitted = fit(parts, tmp_path / "run")
    moved = changed(before, dict(parts.model.named_parameters()))
    assert not [name for name in moved if name.startswith("backbones.audio")]
    assert any(name.startswith("backbones.visual") for name in moved)
    names = {id(parameter): name for name, parameter in parts.model.named_parameters()}
    seen = 0
    for group in fitted.learner.optimizer.param_groups:
        rates = {group["lr"] / group["lr_scale"]} if group["lr_scale"] else set()
        assert all(rate == pytest.approx(0.01 + 1e-5 / 2, rel=1e-3) for rate in rates)  # half the cosine is over
        for parameter in group["params"]:
            seen += 1
            name = names[id(parameter)]
            expected = 0.0 if name.startswith("backbones.audio") else 0.5 if name.startswith("backbones") else 1.0
            assert group["lr_scale"] == expected
            assert bool(group["weight_decay"]) == (parameter.ndim > 1)
    assert seen == sum(parameter.requires_grad for parameter in parts.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["epoch", "step"])
def test_the_rate_warms_up_and_follows_a_cosine(small: Small, tmp_path: Path, schedule: str) -> None:
    sets = ["train.epochs=4", "train.warmup_epochs=1", "train.batch_size=8", "train.accumulate=2"]
    parts = small(sets=[*sets, f"train.schedule={schedule}"], fusion=LATE)
    rates: list[float] = []

    def watched(training: Training, step: Any, _batches: list[Any]) -> StepResult:
        rates.append(training.learner.lr)
        return step()

    trainer(parts, watched).fit(create_run(tmp_path / "run", parts))
    per_epoch, recipe = 3, parts.config.train
    assert recipe.lr is not None
    expected = []
    for step in range(4 * per_epoch):
        position = step / per_epoch if schedule == "step" else step // per_epoch
        if position < 1:
            expected.append(recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * position)
        else:
            cosine = (1 + math.cos(math.pi * position / 4)) / 2
            expected.append(recipe.min_lr + (recipe.lr - recipe.min_lr) * cosine)
    assert rates == pytest.approx(expected)


def test_a_run_resumed_after_the_last_step_of_an_epoch_keeps_its_rate(small: Small) -> None:
    learner = trainer(small(sets=["train.schedule=step"])).learner
    schedule = learner.schedule(3)
    schedule.set_rate(1, 2)
    last = learner.lr
    schedule.set_rate(1, 3)
    assert learner.lr == last
    schedule.set_rate(2, 0)
    assert learner.lr < last


def test_a_part_that_is_not_there_is_named(small: Small) -> None:
    with pytest.raises(UserError, match=r"has no part 'backbone\.audio' \(did you mean 'backbones\.audio'"):
        trainer(small(train={"lr_scale": {"backbone.audio": 0.1}}))


@pytest.mark.slow
def test_the_average_is_evaluated_and_kept(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=1", "train.ema=0.5"], fusion=LATE)
    start = weights(parts)
    averages: list[dict[str, Tensor]] = []
    expected = {name: tensor.clone() for name, tensor in start.items()}

    def watched(_training: Training, step: Any, _batches: list[Any]) -> StepResult:
        result = step()
        for name, tensor in parts.model.state_dict().items():
            expected[name] = (
                torch.lerp(expected[name], tensor, 0.5) if tensor.is_floating_point() else tensor.clone()
            )
        averages.append(expected)
        return result

    run = create_run(tmp_path / "run", parts)
    trainer(parts, watched).fit(run)
    assert len(averages) == 3
    kept = run.load_model().state_dict()
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-7)
    assert changed(start, kept)


@pytest.mark.slow
@pytest.mark.parametrize(("figures", "ends"), [([0.5, 0.4, 0.6, 0.5, 0.5, 0.9], 5), ([0.9, 0.1, 0.1, 1.0], 3)])
def test_patience_ends_a_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: list[float], ends: int
) -> None:
    ScriptedEvaluations(monkeypatch, [(accuracy, 1.0) for accuracy in figures])
    run, fitted = fit(small(sets=["train.epochs=6", "train.patience=2"], fusion=LATE), tmp_path / "run")
    assert [line["epoch"] for line in run.metrics() if "epoch" in line] == list(range(1, ends + 1))
    assert fitted.state.best_epoch == ends - 2
    fit_again = trainer(run.assemble())
    fit_again.fit(run)
    assert [line["epoch"] for line in run.metrics() if "epoch" in line] == list(range(1, ends + 1))


@pytest.mark.slow
def test_gradients_are_clipped(small: Small, tmp_path: Path) -> None:
    runs = []
    for name, clip in (("free", []), ("clipped", ["train.clip_grad=1e-12"])):
        parts = small(sets=["train.epochs=1", "train.optimizer=sgd", "train.weight_decay=0.0", *clip])
        before = parts.model.readout.head.weight.detach().clone()
        fit(parts, tmp_path / name)
        runs.append((parts.model.readout.head.weight.detach() - before).abs().max().item())
    assert runs[1] < 1e-9 < 1e-4 < runs[0]


def test_an_optimiser_that_timm_does_not_have_is_named(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.optimizer=adamv"])
    with pytest.raises(UserError, match=r"train\.optimizer = 'adamv'"):
        fit(parts, tmp_path / "run")
