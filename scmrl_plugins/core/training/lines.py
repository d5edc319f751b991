"""The lines of ``metrics.jsonl`` that a training writes, and the sums over an epoch that they are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.evaluation.metrics import scalars
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.training.step import StepResult

_TERM = "term "
"""Prefix of the loss terms among the sums, which a checkpoint saves."""


def add(sums: dict[str, float], result: StepResult) -> None:
    """Add a step to the sums of its epoch."""
    terms = {f"{_TERM}{name}": value for name, value in result.term_sums.items()}
    summands = {"samples": result.samples, "loss": result.loss_sum, "correct": result.correct, **terms}
    for name, value in summands.items():
        sums[name] = sums.get(name, 0.0) + value


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Loss and accuracy over the samples of an epoch so far."""
    n = max(1, sums.get("samples", 0))
    return {"loss": sums.get("loss", 0.0) / n, "accuracy": sums.get("correct", 0) / n}


def step_line(state: TrainingState, lr: float, result: StepResult, seconds: float) -> dict[str, Any]:
    """The figures of one step; ``seconds`` since the last such line."""
    return {
        "step": state.step,
        "of_epoch": state.epoch + 1,
        "lr": lr,
        "loss": result.loss,
        "accuracy": result.accuracy,
        "gradient_norm": result.gradient_norm,
        "seconds": round(seconds, 3),
    }


def epoch_line(state: TrainingState, lr: float, split: str, chosen: Evaluation, seconds: float) -> dict[str, Any]:
    """The figures of an epoch: those of its steps, and the metrics and firing rates of the split that
    chooses the best epoch."""
    n = max(1, state.sums.get("samples", 0))
    line = {
        "epoch": state.epoch + 1,
        "lr": lr,
        **{f"train_{name}": value for name, value in means(state.sums).items()},
        "terms": {
            name.removeprefix(_TERM): value / n for name, value in state.sums.items() if name.startswith(_TERM)
        },
        **{f"{split}_{name}": value for name, value in scalars(chosen.metrics).items()},
        "firing_rates": {name: round(rate, 5) for name, rate in chosen.firing_rates.items()},
        "seconds": round(seconds, 3),
    }
    if state.sums.get("lost"):
        line["lost_steps"] = state.sums["lost"]
    return line


def test_line(state: TrainingState, protocol: str, skipped: int, result: Evaluation) -> dict[str, Any]:
    """The test result of the best epoch."""
    description = {"split": "test", "protocol": protocol, "best_epoch": state.best_epoch, "skipped": skipped}
    return description | result.as_dict()
