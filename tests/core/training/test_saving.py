"""Checkpoints, and resuming from them after kills, signals, a full disk and damage: nothing saved is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from blob_data import ENTRY
from safetensors.torch import load_file
from trainings import epochs, fit, printed, trainer

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.explain import report
from scmrl_plugins.registry import UserError, catalogue

Small = Callable[..., Assembly]
SETS = [
    "train.epochs=2",
    "train.batch_size=8",
    "train.checkpoint_steps=2",
    "train.log_steps=3",
    "encoder.name=rate",
    "train.schedule=step",
    "data.mixup=0.4",
    "data.noise.audio=[-5, 15]",
    "data.modality_dropout.visual=0.2",
]
"""An encoder, pairs and noise that are drawn at random, so that a draw that was lost would show."""
KILLS = int(os.environ.get("SCMRL_KILLS", "4"))


def fit_printed(run: Run) -> str:
    """Train as the command does; what was printed."""
    training = trainer(run.assemble())
    training.fit(run)
    return printed(training.progress)


def fit_and_report(run: Run) -> None:
    fit(run)
    report.write(run)


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without the times."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_run(one: Run, other: Run) -> None:
    """To the bit in its weights, moments and metrics, and with nothing left over."""
    assert one.weights_file.read_bytes() == other.weights_file.read_bytes()
    ends = [load_file(run.checkpoints()[-1]) for run in (one, other)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert timeless(one.metrics()) == timeless(other.metrics())
    assert sorted(path.name for path in one.path.rglob("*")) == sorted(path.name for path in other.path.rglob("*"))


@pytest.fixture(scope="module")
def uninterrupted(
    forked: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, float]:
    """The run that nothing stopped, and how long it took."""
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    forked(run=path.with_name("warm"), sets=SETS)  # stores the features
    done = forked(run=path, sets=SETS)
    assert done["code"] == 0, done
    return Run(path), done["seconds"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_kills_lose_nothing(
    forked: Callable[..., dict[str, Any]], uninterrupted: tuple[Run, float], tmp_path: Path
) -> None:
    undisturbed, seconds = uninterrupted
    rng = random.Random(0)
    path, kills, done = tmp_path / "run", 0, {"code": -1}
    while kills < KILLS:
        slow = 0.05 if rng.random() < 0.6 else 0.0
        done = forked(run=path, sets=SETS, kill_after=rng.uniform(0.05, 0.7 * seconds), slow_saves=slow)
        assert done["code"] in (0, -9), done
        if done["code"] == 0:  # through before the kill: the rest of the kills go to another run
            assert_same_run(Run(path), undisturbed)
            path = tmp_path / f"run{kills}"
        else:
            kills += 1
            if path.exists() and not (path / "config.toml").exists():
                path = tmp_path / f"run{kills}"  # killed before it was a run: there is nothing to resume
    if not (path / "config.toml").exists():
        path = tmp_path / "last"
    assert forked(run=path, sets=SETS)["code"] == 0
    assert_same_run(Run(path), undisturbed)
    assert [line["epoch"] for line in epochs(Run(path))] == [1, 2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_finishes_the_step_and_saves(
    forked: Callable[..., dict[str, Any]], uninterrupted: tuple[Run, float], tmp_path: Path, number: str
) -> None:
    undisturbed, seconds = uninterrupted
    path = tmp_path / "run"
    sets = [*SETS, "train.checkpoint_steps=1000"]
    after = 0.5 * seconds
    for attempt in range(20):
        done = forked(run=path, sets=sets, kill_after=after, signal=number)
        if done["code"] == 130 and (path / "checkpoints").exists() and Run(path).checkpoints():
            break
        path, after = tmp_path / f"run{attempt}", after * (0.8 if done["code"] == 0 else 1.1)
    assert done["code"] == 130, done
    assert forked(run=path)["code"] == 0
    final = Run(path)
    assert final.weights_file.read_bytes() == undisturbed.weights_file.read_bytes()
    assert timeless(epochs(final)) == timeless(epochs(undisturbed))


RECIPE = [
    "train.batch_size=4",
    "train.accumulate=2",
    "train.ema=0.9",
    'train.freeze=["audio"]',
    "train.patience=9",
    "train.optimizer=lamb",  # counts its steps by group of parameters
]


@pytest.mark.slow
@pytest.mark.parametrize(("stops", "recipe"), [([5], RECIPE), ([6, 7], [])])
def test_a_run_stopped_after_any_step_is_the_same_run(
    small: Small, tmp_path: Path, stops: list[int], recipe: list[str]
) -> None:
    sets = [*SETS, *recipe]
    undisturbed = create_run(tmp_path / "uninterrupted", small(sets=sets))
    fit(undisturbed)
    for stop in stops:
        run = create_run(tmp_path / f"run{stop}", small(sets=sets))
        stop_and_resume(run, stop)
        assert_same_run(run, undisturbed)


def stop_and_resume(run: Run, stop: int) -> None:
    """Train until a step, which is interrupted, and then to the end."""
    steps: list[int] = []

    def stopping(_training: Training, step: Any, _batches: list[Any]) -> StepResult:
        result = step()
        steps.append(1)
        if len(steps) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    with pytest.raises(KeyboardInterrupt):
        trainer(run.assemble(), stopping).fit(run)
    epoch, step = (stop - 1) // 6, (stop - 1) % 6 + 1
    assert run.checkpoints()[-1] == run.checkpoint_file(epoch, step)
    assert len(steps) == stop
    text = fit_printed(run)
    assert f"resuming after epoch {epoch}, step {step} of 2 epochs" in text


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two epochs that nothing stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
        folder = tmp_path_factory.mktemp("two")
        patch.setenv("SCMRL_CACHE", str(folder / "cache"))
        layer = layers.Layer("the test", {"dataset": {"name": "blobs"}, "fusion": {"name": "late"}})
        parts = assembly.assemble(layers.compose(layers=[layer], sets=["train.epochs=2"]))
        run = create_run(folder / "run", parts)
        fit(run, parts)
    return run


@pytest.fixture
def trained(two_epochs: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return Run(shutil.copytree(two_epochs.path, tmp_path / "run"))


def flip(path: Path, position: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 0x80  # no text any more, where it was one
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("position", [0.5, *(pytest.param(other, marks=pytest.mark.slow) for other in (0.0, 1.0))])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(trained: Run, tmp_path: Path, position: float) -> None:
    content, before = trained.weights_file.read_bytes(), timeless(epochs(trained))
    flip(trained.checkpoint_file(2), position)
    text = fit_printed(trained)
    assert f"warning: {trained.checkpoint_file(2)}: damaged" in text
    assert "resuming after epoch 1 of 2 epochs" in text
    assert trained.weights_file.read_bytes() == content
    assert timeless(epochs(trained)) == before


@pytest.mark.slow
def test_a_run_without_an_intact_checkpoint_is_reported(trained: Run) -> None:
    for path in trained.checkpoints():
        flip(path)
    content = trained.weights_file.read_bytes()
    with pytest.raises(
        UserError, match="no checkpoint before it can be read either: train again with -c"
    ) as caught:
        fit(trained)
    assert "\n" not in str(caught.value)
    assert trained.weights_file.read_bytes() == content


@pytest.mark.parametrize(
    "name",
    [
        "config.toml",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("metrics.jsonl", "model.safetensors", "environment.json")
        ),
    ],
)
def test_a_damaged_byte_is_one_line_that_names_the_file(trained: Run, name: str) -> None:
    flip(trained.path / name)
    others = {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        fit_and_report(trained)
    assert "\n" not in str(caught.value)
    assert str(trained.path) in str(caught.value)
    kept = [path for path, data in others.items() if path.suffix == ".safetensors" and path.read_bytes() != data]
    assert not kept


@pytest.mark.slow
def test_half_a_line_of_metrics_is_dropped(trained: Run) -> None:
    before = trained.metrics()
    with trained.metrics_file.open("a") as file:
        file.write('{"epoch": 3, "train_l')
    assert trained.metrics() == before
    fit(trained)
    assert trained.metrics() == before
    assert trained.metrics_file.read_text().endswith("}\n")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_full_disk_keeps_what_was_saved(forked: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert forked(run=path, sets=[*SETS, "train.epochs=1"])["code"] == 0
    config = path / "config.toml"
    config.write_text(config.read_text().replace("epochs = 1\n", "epochs = 2\n"))
    before = Run(path).checkpoints()[-1].read_bytes()
    size = Run(path).checkpoints()[-1].stat().st_size
    done = forked(run=path, largest_file=size // 2)
    assert done["code"] == 2
    last = done["error"].strip().splitlines()[-1]
    assert all(words in last for words in ("cannot be saved (", "File too large", "; free space")), last
    assert Run(path).checkpoints()[-1].read_bytes() == before
    assert not [left for left in path.rglob(".*") if left.name != ".lock"]
    assert forked(run=path)["code"] == 0
    assert [line["epoch"] for line in epochs(Run(path))] == [1, 2]


@pytest.mark.usefixtures("obeying_modes")
def test_a_directory_that_cannot_be_written_is_one_line(trained: Run) -> None:
    trained.path.chmod(0o500)
    with pytest.raises(UserError, match=r"cannot be (written|saved)"):
        fit(trained)


def truncated(run: Run, path: Path, after: int) -> Run:
    """A copy of a run as it was after an epoch, had it been stopped there."""
    shutil.copytree(run.path, path)
    copy = Run(path)
    saved = copy.checkpoints()
    for later in saved[saved.index(copy.checkpoint_file(after)) + 1 :]:
        later.unlink()
    return copy


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=3", "train.keep_checkpoints=3", "encoder.name=rate"])
    complete = create_run(tmp_path / "uninterrupted", parts)
    result = fit(complete, parts)

    torch.manual_seed(99)
    resumed = truncated(complete, tmp_path / "resumed", after=1)
    again = fit(resumed)

    assert resumed.weights_file.read_bytes() == complete.weights_file.read_bytes()
    ends = [load_file(run.checkpoint_file(3)) for run in (complete, resumed)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    assert [line["epoch"] for line in epochs(resumed)] == [1, 2, 3]
    assert complete.checkpoints() == [complete.checkpoint_file(epoch) for epoch in (1, 2, 3)]
    assert timeless(resumed.metrics()) == timeless(complete.metrics())
    assert again.as_dict() == result.as_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails", "epoch"), [("save_weights", 1), ("save_weights", 2), ("save_training", 2), ("add_metrics", 1)]
)
def test_wherever_saving_stops_the_run_resumes_as_the_same(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_epochs: Run, fails: str, epoch: int
) -> None:
    # Both epochs are the best so far, so each step of saving is taken in each of them.
    assert [line["best_epoch"] for line in two_epochs.metrics() if "best_epoch" in line] == [2]
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
    assert run.weights_file.read_bytes() == two_epochs.weights_file.read_bytes()


@pytest.mark.slow
def test_the_configured_number_of_checkpoints_is_kept(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=2", "train.keep_checkpoints=1"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    assert run.checkpoints() == [run.checkpoint_file(2)]
