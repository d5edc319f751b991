from __future__ import annotations

import pytest
from tiny_model import TINY
from torch import nn

from scmrl_plugins.bench.speed.settings import OURS
from scmrl_plugins.bench.speed.worker import Worker


def test_a_worker_measures() -> None:
    worker = Worker(OURS, TINY, "cpu")
    prepared = worker.prepare()
    assert prepared["first_loss"] > 0
    assert prepared["memory"] is None or prepared["memory"] > 0
    assert worker.first_loss("channels-first") == pytest.approx(prepared["first_loss"], rel=1e-2)
    assert min(worker.train(), worker.infer(), worker.arithmetic(), worker.kernel()) > 0
    assert worker.infer_folded() > 0
    assert any(isinstance(module, nn.BatchNorm2d) for module in worker.step.model.modules())
    assert worker.folded is not None
    assert not any(isinstance(module, nn.BatchNorm2d) for module in worker.folded.model.modules())
    profile = worker.profile(3)
    rows = profile["operators"]
    assert len(rows) == 3
    assert profile["kernels"] is None
    assert rows[0]["ms"] >= rows[1]["ms"]
    assert all(seconds > 0 for seconds in worker.scale_steps((1, 2), 1))
    assert all(seconds > 0 for seconds in worker.scale_tokens("cmqka", (4, 8), 1))
