"""What a training would take, batches that fit the memory, and what is said where they do not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from trainings import fit

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.core.system import memory
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training import plan
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.plan import Estimate, Trial
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
CPU = torch.device("cpu")
MEBI = 2**20


def known(free: int | None, *trials: tuple[int, float]) -> Estimate:
    """Of trials ``(batch, MiB)``, each of as many seconds as samples."""
    return Estimate([Trial(batch, float(batch), int(size * MEBI)) for batch, size in trials], free)


@given(st.integers(1, 500), st.floats(1, 100), st.floats(0, 1000), st.integers(1, 9))
def test_what_is_linear_is_foretold(batch: int, each: float, fixed: float, step: int) -> None:
    found = known(None, *((b, fixed + each * b) for b in (step, 2 * step, 4 * step)))
    assert found.size(batch) == pytest.approx((fixed + each * batch) * MEBI, rel=1e-3, abs=9 * MEBI)
    assert found.seconds(batch) == pytest.approx(batch)


def test_a_batch_fits_where_most_of_the_free_memory_is_enough() -> None:
    found = known(1000 * MEBI, (2, 120), (4, 140), (8, 180))  # 100 + 10 a sample
    assert found.fits(80)
    assert not found.fits(81)
    assert known(None, (2, 120), (4, 140)).fits(10**6)
    assert Estimate([Trial(2, 1.0, None)], 1).fits(10**6)


def silent() -> Progress:
    return Progress(Console(file=io.StringIO(), width=300))


def test_smaller_batches_keep_the_samples_of_a_step(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = small(sets=["train.batch_size=48", "train.accumulate=2"])
    monkeypatch.setattr(plan, "estimate", lambda *_args: known(300 * MEBI, (2, 120), (4, 140)))
    progress = silent()
    train = plan.fitting(parts, CPU, 1, progress).config.train
    assert (train.batch_size, train.accumulate, train.lr) == (16, 6, parts.config.train.lr)
    said = progress.console.file.getvalue()  # type: ignore[attr-defined]
    assert "a step on 48 samples takes about 580 MiB, and 300 MiB are free: 6 batches of 16 samples" in said
    assert plan.fitting(parts, CPU, 4, silent()).config.train.batch_size == 48  # a share of 12 fits
    monkeypatch.setattr(plan, "estimate", lambda *_args: known(100 * MEBI, (2, 120), (4, 140)))
    with pytest.raises(UserError, match="not enough memory for one sample: make"):
        plan.fitting(parts, CPU, 1, silent())


def test_where_all_fits_nothing_changes(small: Small) -> None:
    parts = small()
    weights = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    generator = torch.get_rng_state()
    assert plan.fitting(parts, CPU, 1, silent()) is parts
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 64 bytes"),
        RuntimeError("could not create a primitive"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_want_of_memory_is_known_by_its_words(error: Exception) -> None:
    assert memory.out_of_memory(error)


def test_a_step_without_memory_names_the_batch_that_fits(small: Small, tmp_path: Path) -> None:
    def failing(_training: Training, _step: Any, _batches: Any) -> StepResult:
        raise MemoryError

    parts = small(sets=["train.batch_size=24"])
    run = create_run(tmp_path / "run", parts)
    with pytest.raises(UserError, match=r"= 24; 12 would fit: .* train\.batch_size=12 --set train\.accumulate=2,"):
        fit(run, parts, failing)


def test_other_errors_are_not_for_want_of_memory() -> None:
    assert not memory.out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not memory.out_of_memory(ValueError("out of memory"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak of a process")
def test_the_peak_of_memory_is_measured() -> None:
    before = memory.held(CPU)
    most = memory.peak(lambda: torch.ones(64 * MEBI // 4).sum(), CPU)
    assert before is not None
    assert most is not None
    assert 48 * MEBI < most - before < 96 * MEBI


def test_limits_of_a_process_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = memory.free(CPU)
    assert free is not None
    (tmp_path / "memory.max").write_text(f"{300 * MEBI}\n")
    (tmp_path / "memory.current").write_text(f"{100 * MEBI}\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free(CPU) == 200 * MEBI < free
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free(CPU) == pytest.approx(free, rel=0.2)


def test_a_plan_says_what_would_be_done(small: Small) -> None:
    parts = small(sets=["train.epochs=7", "train.batch_size=10", "train.accumulate=2", "train.protocol=published"])
    rows = dict(plan.make(parts, CPU, 2))
    assert rows["data set"] == "blobs: 48 train, 15 validation, 18 test"
    assert rows["features"] == "0 samples stored, 81 to be computed first"
    assert rows["a step"] == "20 samples, 2 batches"
    assert "published: the test split" in rows["protocol"]
    assert "2 processes of 5 samples each" in rows["device"]
    assert "for 7 epochs of 4 steps" in rows["time"]
    assert " free" in rows["memory"]


def test_a_plan_shows_what_a_step_takes(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "estimate", lambda *_args: known(150 * MEBI, (2, 120), (4, 140)))
    rows = dict(plan.make(small(sets=["train.epochs=3"]), CPU, 1))
    # 3 steps of 16 s an epoch, and an evaluation of 15 samples at a third of that
    assert rows["time"].startswith("about 0:02:39 for 3 epochs of 3 steps, 16 s each")
    assert rows["memory"] == "about 260 MiB a process, 150 MiB free: too little, see --auto-batch"
