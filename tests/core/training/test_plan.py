"""The plan of a training, batches that fit into memory, and the message where they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from estimates import MEBI, known
from trainings import CPU, fit, printed, quiet

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.core.training import plan
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def test_smaller_batches_keep_the_samples_of_a_step(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = small(sets=["train.batch_size=48", "train.accumulate=2"])
    monkeypatch.setattr(plan, "estimate", lambda *_args: known(300 * MEBI, (2, 120), (4, 140)))
    progress = quiet()
    train = plan.fit_memory(parts, CPU, 1, progress).config.train
    assert (train.batch_size, train.accumulate, train.lr) == (16, 6, parts.config.train.lr)
    expected = (
        "a step on 48 samples takes about 580 MiB, and 300 MiB are free: accumulating 6 batches of 16 samples"
    )
    assert expected in printed(progress)
    assert plan.fit_memory(parts, CPU, 4, quiet()).config.train.batch_size == 48  # a share of 12 fits
    monkeypatch.setattr(plan, "estimate", lambda *_args: known(100 * MEBI, (2, 120), (4, 140)))
    with pytest.raises(UserError, match="not enough memory for one sample: make"):
        plan.fit_memory(parts, CPU, 1, quiet())


@pytest.mark.slow
def test_where_all_fits_nothing_changes(small: Small) -> None:
    parts = small()
    weights = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    generator = torch.get_rng_state()
    assert plan.fit_memory(parts, CPU, 1, quiet()) is parts
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.slow
def test_a_step_without_memory_names_the_batch_that_fits(small: Small, tmp_path: Path) -> None:
    def failing(_training: Training, _step: Any, _batches: Any) -> StepResult:
        raise MemoryError

    parts = small(sets=["train.batch_size=24"])
    run = create_run(tmp_path / "run", parts)
    with pytest.raises(UserError, match=r"= 24; 12 would fit: .* train\.batch_size=12 --set train\.accumulate=2,"):
        fit(run, parts, failing)


@pytest.mark.slow
def test_a_plan_says_what_would_be_done(small: Small) -> None:
    parts = small(sets=["train.epochs=7", "train.batch_size=10", "train.accumulate=2", "train.protocol=published"])
    rows = dict(plan.describe(parts, CPU, 2))
    assert rows["data set"] == "blobs: 48 train, 15 validation, 18 test"
    assert rows["features"] == "0 samples stored, 81 to be computed first"
    assert rows["a step"] == "20 samples, 2 batches"
    assert "published: the test split" in rows["protocol"]
    assert "2 processes of 5 samples each" in rows["device"]
    assert "for 7 epochs of 4 steps" in rows["time"]
    assert " free" in rows["memory"]


def test_a_plan_shows_what_a_step_takes(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "estimate", lambda *_args: known(150 * MEBI, (2, 120), (4, 140)))
    rows = dict(plan.describe(small(sets=["train.epochs=3"]), CPU, 1))
    # 3 steps of 16 s an epoch, and an evaluation of 15 samples at a third of that
    assert rows["time"].startswith("about 0:02:39 for 3 epochs of 3 steps, 16 s each")
    assert rows["memory"] == "about 260 MiB per process, 150 MiB free: too little, see --auto-batch"
