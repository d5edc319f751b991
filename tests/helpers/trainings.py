"""Trainings in this process: runs, and steps that a test watches or disturbs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from blob_data import SIZES
from rich.console import Console

from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training import loop
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult

CPU = torch.device("cpu")
AroundStep = Callable[[Training, Callable[[], StepResult], list[Any]], StepResult]


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO(), width=500))


def printed(progress: Progress) -> str:
    return progress.console.file.getvalue()  # type: ignore[attr-defined]


def trainer(parts: Assembly, around_step: AroundStep | None = None) -> Training:
    """A training whose steps go through ``around_step(training, step, batches)``, which calls ``step()``.

    It does not measure the contribution, which takes as long as an epoch.
    """
    training = Training(parts, CPU, quiet(), with_contribution=False)
    if around_step:
        original = training.learner.step

        def step(batches: list[Any], *arguments: Any) -> StepResult:
            return around_step(training, lambda: original(batches, *arguments), batches)

        training.learner.step = step
    return training


def fit(run: Run, parts: Assembly | None = None, around_step: AroundStep | None = None) -> Evaluation:
    """Train as the command does: without ``parts``, a run is resumed from its directory."""
    return trainer(parts or run.assemble(), around_step).fit(run)


def epochs(run: Run) -> list[dict[str, Any]]:
    return [line for line in run.metrics() if "epoch" in line]


class ScriptedEvaluations:
    """Replaces accuracy and loss of one evaluation after the other; ``splits`` are those that were evaluated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, figures: list[tuple[float, float]]) -> None:
        self.splits: list[str] = []
        left, original = iter(figures), loop.evaluate

        def scripted(model: Any, objective: Any, loader: Any, *arguments: Any, **options: Any) -> Evaluation:
            result = original(model, objective, loader, *arguments, **options)
            self.splits.append(next(name for name, size in SIZES.items() if size == len(loader.dataset)))
            accuracy, loss = next(left, (result.metrics["accuracy"], result.metrics["loss"]))
            result.metrics |= {"accuracy": accuracy, "loss": loss}
            return result

        monkeypatch.setattr(loop, "evaluate", scripted)
