"""Lines of the metrics, made from the sums over an epoch."""

from __future__ import annotations

import torch

from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.training import lines
from scmrl_plugins.core.training.step import StepResult


def result(samples: int, loss_sum: float, correct: float) -> StepResult:
    return StepResult(samples, loss_sum, {"ce": loss_sum / 2, "sao": loss_sum / 2}, correct, gradient_norm=0.5)


def test_means_are_over_samples() -> None:
    sums: dict[str, float] = {}
    assert lines.means(sums) == {"loss": 0.0, "accuracy": 0.0}
    lines.add(sums, result(3, 6.0, 3))
    lines.add(sums, result(1, 4.0, 0))
    assert lines.means(sums) == {"loss": 2.5, "accuracy": 0.75}
    assert sums == {"samples": 4, "loss": 10.0, "correct": 3.0, "term ce": 5.0, "term sao": 5.0}


def test_a_line_of_each_kind() -> None:
    state = TrainingState(epoch=1, step=7, best_epoch=1)
    lines.add(state.sums, result(4, 8.0, 2))
    step = lines.step_line(state, 0.1, result(4, 8.0, 2), 1.23456)
    assert step == {
        "step": 7,
        "of_epoch": 2,
        "lr": 0.1,
        "loss": 2.0,
        "accuracy": 0.5,
        "gradient_norm": 0.5,
        "seconds": 1.235,
    }
    predictions = Predictions(torch.zeros(9, dtype=torch.long), torch.zeros(9, 1), torch.ones(9), ["one"])
    figures = {"accuracy": 0.5, "loss": 1.0, "macro_f1": 0.25, "per_class": {"one": 1.0}}
    evaluation = Evaluation(predictions, figures, {"layer": 0.123456789})
    epoch = lines.epoch_line(state, 0.1, "validation", evaluation, 2.0)
    assert epoch == {
        "epoch": 2,
        "lr": 0.1,
        "train_loss": 2.0,
        "train_accuracy": 0.5,
        "terms": {"ce": 1.0, "sao": 1.0},
        "validation_accuracy": 0.5,
        "validation_loss": 1.0,
        "validation_macro_f1": 0.25,
        "firing_rates": {"layer": 0.12346},
        "seconds": 2.0,
    }
    state.sums["lost"] = 3
    assert lines.epoch_line(state, 0.1, "validation", evaluation, 2.0)["lost_steps"] == 3
    tested = lines.test_line(state, "honest", 2, evaluation)
    assert (tested["split"], tested["best_epoch"], tested["skipped"], tested["n"]) == ("test", 1, 2, 9)
    assert tested["per_class"] == {"one": 1.0}
