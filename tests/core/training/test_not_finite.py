"""Steps whose loss or gradient is not finite: the policies stop, skip and rollback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trainings import epochs, fit, printed, trainer

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def poison(*numbers: int) -> Any:
    """Makes the inputs of these steps, counted from 1, infinite."""
    steps: list[int] = []

    def around(_training: Training, step: Any, batches: list[Any]) -> StepResult:
        steps.append(1)
        if len(steps) in numbers:
            batches[0]["audio"] = batches[0]["audio"] * float("nan")
        return step()

    return around


def all_finite(run: Run) -> bool:
    return all(t.isfinite().all() for t in load_file(run.checkpoints()[-1]).values() if t.is_floating_point())


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_step_that_is_not_finite_is_left_out(small: Small, tmp_path: Path, policy: str) -> None:
    sets = ["train.epochs=2", "train.batch_size=16", f"train.on_nan={policy}"]
    run = create_run(tmp_path / "run", small(sets=sets, loss=[{"name": "ce"}], fusion={"name": "late"}))
    training = trainer(run.assemble(), poison(2))
    training.fit(run)
    assert "in epoch 1, step 2 (samples train-" in printed(training.progress)
    assert all_finite(run)
    assert [line.get("lost_steps") for line in epochs(run)] == [1, None]


@pytest.mark.slow
def test_a_run_whose_steps_are_never_finite_stops(small: Small, tmp_path: Path) -> None:
    sets = ["train.epochs=2", "train.batch_size=4", "train.on_nan=skip"]
    run = create_run(tmp_path / "run", small(sets=sets))
    with pytest.raises(UserError, match="in epoch 1, step 10"):
        trainer(run.assemble(), poison(*range(1, 100))).fit(run)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_with_a_line(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=3"])
    run = create_run(tmp_path / "run", parts)

    def poison(training: Training, step: Any, _batches: list[Any]) -> StepResult:
        if training.state.epoch == 1:
            with torch.no_grad():
                parts.model.readout.head.bias.fill_(float("nan"))
        return step()

    with pytest.raises(
        UserError, match=r"is nan in epoch 2, step 1 \(samples train-.*: try a smaller .* state of epoch-00001"
    ):
        fit(run, parts, poison)
    assert [line["epoch"] for line in epochs(run)] == [1]
    assert [path.name for path in run.checkpoints()] == ["epoch-00001.safetensors"]
    saved = load_file(run.checkpoint_file(1))
    assert all(tensor.isfinite().all() for tensor in saved.values() if tensor.is_floating_point())
    assert run.load_model().readout.head.bias.isfinite().all()
    fit(run)
    assert [line["epoch"] for line in epochs(run)] == [1, 2, 3]
