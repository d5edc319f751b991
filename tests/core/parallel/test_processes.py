"""Several processes that train one model: the same as one, also when a run is stopped and resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from scmrl_plugins.core.parallel import launch
from scmrl_plugins.core.parallel.batch_norm import SynchronousBatchNorm, synchronize
from scmrl_plugins.core.parallel.processes import Processes, peer_failed
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.registry import UserError

Forked = Callable[..., dict[str, Any]]
SETS = ["train.epochs=2", "train.batch_size=9", "train.log_steps=1", "train.checkpoint_steps=2"]
"""Shares of five samples and four, and a last batch of two and one."""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def steps(run: Path) -> list[tuple[float, ...]]:
    """Loss, accuracy and norm of the gradient of every step."""
    lines = [line for line in Run(run).metrics() if "of_epoch" in line]
    return [
        (line["of_epoch"], line["step"], line["loss"], line["accuracy"], line["gradient_norm"]) for line in lines
    ]


def assert_same_curve(one: Path, other: Path) -> None:
    assert len(steps(one)) == len(steps(other)) > 8
    for step, expected in zip(steps(one), steps(other), strict=True):
        assert step == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def alone(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a single process that nothing stopped."""
    path = tmp_path_factory.mktemp("alone") / "run"
    done = forked(run=path, sets=SETS)
    assert done["code"] == 0, done
    return path


@pytest.mark.slow
@needs_fork
def test_two_processes_have_the_loss_curve_of_one(forked: Forked, alone: Path, tmp_path: Path) -> None:
    done = forked(run=tmp_path / "run", sets=SETS, processes=2)
    assert done["code"] == 0, done
    assert_same_curve(tmp_path / "run", alone)
    ends = [load_file(Run(path).checkpoints()[-1]) for path in (alone, tmp_path / "run")]
    for name, tensor in ends[0].items():
        # Parameters before a batch norm have gradients of rounding errors, which Adam turns into steps.
        if "mlp" not in name and not name.startswith("optimizer"):
            torch.testing.assert_close(ends[1][name], tensor, rtol=1e-3, atol=1e-5)
    one, two = (Run(path).metrics()[-1] for path in (alone, tmp_path / "run"))
    assert (one["n"], two["n"]) == (18, 18)
    assert sum(map(sum, two["confusion"])) == 18


@pytest.mark.slow
@needs_fork
def test_two_processes_test_a_finished_run_as_one(forked: Forked, alone: Path, tmp_path: Path) -> None:
    """Predictions are gathered in the order of one process, so that all metrics agree to the last digit."""
    run = Path(shutil.copytree(alone, tmp_path / "run"))
    assert forked(run=run, processes=2)["code"] == 0
    assert Run(run).metrics() == Run(alone).metrics()


METHODS: dict[str, dict[str, Any]] = {
    "heads of their own": {"fusion": {"name": "cmci"}, "train": {"accumulate": 2}},
    "steps and shares": {"fusion": {"name": "taaf"}, "loss": [{"name": "balance"}, {"name": "tet"}]},
    "firing rates": {
        "fusion": {"name": "late"},
        "loss": [{"name": "ce"}, {"name": "rate"}],
        "train": {"ema": 0.9},
    },
}


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("method", METHODS)
def test_losses_see_the_full_batch(forked: Forked, tmp_path: Path, method: str) -> None:
    for count in (1, 2):
        # Adam would turn rounding errors, such as the gradient of a bias before batch norm, into steps.
        sets = [*SETS, "train.batch_size=5", "train.epochs=1", "train.optimizer=sgd"]
        done = forked(run=tmp_path / f"{count}", sets=sets, options=METHODS[method], processes=count)
        assert done["code"] == 0, done
    assert len(steps(tmp_path / "1")) in (5, 10)
    for own, theirs in zip(steps(tmp_path / "1"), steps(tmp_path / "2"), strict=True):
        assert own == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
@needs_fork
def test_batch_norm_of_each_process_alone_is_another_training(forked: Forked, alone: Path, tmp_path: Path) -> None:
    done = forked(run=tmp_path / "run", sets=[*SETS, "train.sync_batch_norm=false"], processes=2)
    assert done["code"] == 0, done
    assert steps(tmp_path / "run")[0] != pytest.approx(steps(alone)[0], rel=1e-4)
    state = load_file(Run(tmp_path / "run").checkpoints()[-1])
    assert all(tensor.isfinite().all() for tensor in state.values())


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(("first", "second", "number"), [(2, 1, "SIGKILL"), (1, 2, "SIGTERM")])
def test_a_run_resumes_with_another_number_of_processes(
    forked: Forked, alone: Path, tmp_path: Path, first: int, second: int, number: str
) -> None:
    path, after = tmp_path / "run", 1.0
    for attempt in range(12):
        done = forked(run=path, sets=SETS, processes=first, kill_after=after, signal=number)
        saved = path.exists() and Run(path).checkpoints()
        if saved and done["code"] and len(steps(path)) < len(steps(alone)):
            break
        after *= 0.6 if saved else 1.5
        path = tmp_path / f"run{attempt}"
    assert done["code"] == {"SIGTERM": 130, "SIGKILL": -9}[number], done
    before = len(steps(path))
    assert before < len(steps(alone))
    done = forked(run=path, processes=second)
    assert done["code"] == 0, done
    assert "resuming after epoch" in done["error"]
    assert_same_curve(path, alone)
    assert [line["epoch"] for line in Run(path).metrics() if "epoch" in line] == [1, 2]


# Batch norm over all processes ------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**16), st.booleans(), st.booleans()
)
def test_alone_it_is_batch_norm(
    repeats: int, batch: int, size: int, seed: int, affine: bool, cumulative: bool
) -> None:
    """Outputs, gradients and running statistics, also of a batch that stands for copies of it."""
    torch.manual_seed(seed)
    x = 3 + torch.randn(batch + 1, 3, size, size + 1, dtype=torch.float64)
    model = nn.Sequential(nn.BatchNorm2d(3, affine=affine, momentum=None if cumulative else 0.1)).double()
    other = nn.Sequential(nn.BatchNorm2d(3, affine=affine, momentum=None if cumulative else 0.1)).double()
    if affine:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
    other.load_state_dict(model.state_dict())
    before = list(other.parameters())
    synchronize(other, Processes())
    assert isinstance(other[0], SynchronousBatchNorm)
    assert [id(parameter) for parameter in other.parameters()] == list(map(id, before))
    for _ in range(2):
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        y = model(one.repeat(repeats, 1, 1, 1))
        z = other[0](two, repeats)
        weight = torch.randn_like(z)
        torch.testing.assert_close(y[: len(z)], z, rtol=1e-10, atol=1e-10)
        (y * weight.repeat(repeats, 1, 1, 1)).sum().backward()
        (z * weight).sum().backward()
        torch.testing.assert_close(one.grad, two.grad * repeats, rtol=1e-9, atol=1e-9)
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=name)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad * repeats, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.eval()(x), other.eval()(x))


def test_the_mean_may_be_far_larger_than_the_deviation() -> None:
    x = 1000 + torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    norm = nn.Sequential(nn.BatchNorm1d(2))
    synchronize(norm, Processes())
    torch.testing.assert_close(norm(x), nn.BatchNorm1d(2)(x), rtol=1e-3, atol=1e-3)


# Starting them ----------------------------------------------------------------------------------------


def plugin(folder: Path, text: str) -> list[str]:
    """The arguments of a command that runs ``text`` in every process."""
    file = folder / "mine.py"
    file.write_text(f"import os, sys\nrank = int(os.environ['RANK'])\n{text}\n")
    return ["plugins", "--plugin", str(file)]


def test_processes_that_succeed(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch.Team(2, ["--version"]).wait() == 0
    printed = capfd.readouterr()
    assert printed.out.startswith("scmrl, version ")
    assert len(printed.out.splitlines()) == 1
    assert not printed.err


@pytest.mark.slow
def test_an_error_of_all_processes_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch.Team(2, ["build", "--nonsense"]).wait() == 2
    assert capfd.readouterr().err.count("Error: ") == 1


def test_an_error_of_a_process_without_the_terminal_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dies = "print('noise', file=sys.stderr)\nraise OSError(28, 'No space left')"
    code = launch.Team(2, plugin(tmp_path, f"if not rank: os._exit({launch.PEER_FAILED})\n{dies}")).wait()
    printed = capfd.readouterr().err.splitlines()
    assert code == 2
    assert len(printed) == 1
    assert "No space left" in printed[0]


@pytest.mark.slow
def test_a_killed_process_is_reported_and_the_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    team = launch.Team(2, plugin(tmp_path, "import time\nif rank: os.kill(os.getpid(), 9)\ntime.sleep(60)"))
    with pytest.raises(UserError, match=r"process 2 of 2 was ended by SIGKILL, .* scmrl train RUN resumes"):
        team.wait()
    assert all(process.poll() is not None for process in team.processes)


def test_they_end_with_their_parent(tmp_path: Path) -> None:
    waits = "from scmrl_plugins.core.parallel import launch\nimport time\nlaunch.watch_parent()\ntime.sleep(60)"
    team = launch.Team(2, plugin(tmp_path, waits))
    for process in team.processes:
        assert process.stdin is not None
        process.stdin.close()  # as when the parent is killed
    assert [process.wait(timeout=30) for process in team.processes] == [-15, -15]
    with pytest.raises(UserError, match="SIGTERM"):
        team.wait()


def test_a_single_process_has_no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    assert not peer_failed(closed)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert peer_failed(closed)
    assert not peer_failed(RuntimeError("shapes differ"))
    assert not peer_failed(OSError("gloo"))
