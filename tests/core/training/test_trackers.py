"""Trackers: TensorBoard's files, read back, and trackers that are not installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter
from trainings import trainer

from scmrl_plugins.core.config.sections import TrainConfig
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training import trackers
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
CPU = torch.device("cpu")


def fit(run: Run, parts: Assembly) -> None:
    Training(parts, CPU, Progress.silent()).fit(run)


def scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Step and value of every number that TensorBoard shows."""
    read = EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_has_the_metrics_by_default(small: Small, tmp_path: Path) -> None:
    assert TrainConfig().trackers == ("tensorboard",)
    parts = small(
        sets=['train.trackers=["tensorboard"]', "train.epochs=2", "train.log_steps=2"], fusion={"name": "cmrl"}
    )
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    shown, lines = scalars(run), run.metrics()
    epochs = [line for line in lines if "epoch" in line]
    steps = [line for line in lines if "of_epoch" in line]
    assert [step for step, _ in shown["validation_accuracy"]] == [3, 6]
    assert [value for _, value in shown["train_loss"]] == pytest.approx([line["train_loss"] for line in epochs])
    assert [value for _, value in shown["terms/sao"]] == pytest.approx([line["terms"]["sao"] for line in epochs])
    assert shown["gradient_norm"] == [
        (s, pytest.approx(line["gradient_norm"])) for s, line in zip((2, 5), steps, strict=True)
    ]
    assert shown["test_accuracy"] == [(6, pytest.approx(lines[-1]["accuracy"]))]
    layer = "backbones.audio.patches.stages.0.neuron"
    rates = [line["firing_rates"][layer] for line in epochs]
    assert [value for _, value in shown[f"firing_rates/{layer}"]] == pytest.approx(rates)
    images = EventAccumulator(str(run.path / "tensorboard"))
    images.Reload()
    assert {f"raster/{layer}", "attention/fusion.audio_from_visual.spatial"} <= set(images.Tags()["images"])
    assert [event.step for event in images.Images(f"raster/{layer}")] == [3, 6]


@pytest.mark.slow
def test_a_resumed_run_shows_each_step_once(small: Small, tmp_path: Path) -> None:
    sets = ['train.trackers=["tensorboard"]', "train.epochs=2", "train.log_steps=1"]
    run = create_run(tmp_path / "run", small(sets=sets))
    seen: list[int] = []

    def stopping(_training: Training, step: Any, _batches: list[Any]) -> StepResult:
        seen.append(1)
        if len(seen) == 5:
            raise OSError("the machine broke down")
        return step()

    with pytest.raises(OSError, match="broke down"):
        trainer(small(sets=sets), stopping).fit(run)
    fit(run, run.assemble())
    assert [step for step, _ in scalars(run)["loss"]] == [1, 2, 3, 4, 5, 6]


def test_unknown_and_missing_trackers_are_reported(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"train\.trackers: no tracker 'tensorbord' \(did you mean 'tensorb"):
        Training(small(sets=['train.trackers=["tensorbord"]']), CPU, Progress.silent())
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    with pytest.raises(UserError, match=r"'wandb' is not installed: pip install wandb"):
        trackers.check(["wandb"])


@pytest.mark.slow
def test_other_trackers_get_the_configuration(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    class Service:
        requires_logging_directory = False
        name = "mlflow"

        def __init__(self, title: str) -> None:
            calls.append(title)

        def start(self) -> None: ...

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            calls.append(values)

        def log(self, values: dict[str, float], step: int | None) -> None:
            calls.append((step, values))

        def finish(self) -> None:
            calls.append("finished")

    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, "mlflow", Service)
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["mlflow"])
    parts = small(sets=['train.trackers=["mlflow"]', "train.epochs=1"])
    run = create_run(tmp_path / "mine", parts)
    fit(run, parts)
    assert calls[0] == "mine"
    assert calls[1]["model/embed_dims"] == 8
    json.dumps(calls[1])
    assert calls[2][0] == 3
    assert all(isinstance(value, int | float) for value in calls[2][1].values())
    assert calls[-1] == "finished"

    def broken(_self: Any) -> None:
        raise ConnectionError("no server\nanywhere")

    monkeypatch.setattr(Service, "start", broken)
    with pytest.raises(UserError, match=r"'mlflow' does not start \(no server anywhere\); fix this or remove it"):
        fit(create_run(tmp_path / "other", parts), parts)


def test_a_run_goes_on_without_a_tracker_that_fails(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: TensorBoard writes in a thread, and raises what happened there at the next call."""

    def full(_self: Any, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    sets = ['train.trackers=["tensorboard"]', "train.epochs=1"]
    run = create_run(tmp_path / "run", small(sets=sets))
    lines: list[str] = []
    training = trainer(run.assemble())
    monkeypatch.setattr(training.progress, "line", lines.append)
    start = training.trackers.start

    def start_then_fill(*given: Any) -> Any:
        show = start(*given)
        monkeypatch.setattr(RecordWriter, "write", full)
        return show

    monkeypatch.setattr(training.trackers, "start", start_then_fill)
    training.fit(run)
    assert run.metrics()[-1]["split"] == "test"
    warned = [line for line in lines if line.startswith("warning: train.trackers:")]
    failed = "'tensorboard' failed ([Errno 28] No space left on device) and gets no more of this run"
    assert warned == [f"warning: train.trackers: {failed}"]
    assert capfd.readouterr().err == ""
