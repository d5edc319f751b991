"""On a CUDA device: the same numbers, and training works. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scmrl_plugins.bench.speed.settings import OURS, Settings
from scmrl_plugins.bench.speed.worker import Worker
from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.measure.counting import count_batches
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.core.system import devices
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

SMALL = ["model.embed_dims=16", "model.num_heads=2", "model.steps=2", "model.image_size=16"]


def test_auto_takes_it() -> None:
    assert devices.resolve("auto").type == "cuda"


@pytest.mark.parametrize("neuron", ["lif", "braincog:LIFNode"])
def test_the_numbers_are_those_of_the_cpu(neuron: str) -> None:
    model = assemble(compose(options={"neuron": {"name": neuron}}, sets=SMALL)).model.double().eval()
    inputs = {name: x.double() for name, x in random_inputs(model, torch.device("cpu")).items()}
    expected = model(**inputs).logits
    found = model.cuda()(**{name: x.cuda() for name, x in inputs.items()}).logits
    torch.testing.assert_close(found.cpu(), expected, atol=1e-9, rtol=0)


def test_operations_are_those_of_the_cpu() -> None:
    """All counts, whichever device adds them up."""
    model = assemble(compose(sets=[*SMALL, "neuron.threshold=0.02"])).model.double().eval()
    inputs = {name: x.double() for name, x in random_inputs(model, torch.device("cpu")).items()}
    expected = count_batches(model, [inputs])
    assert count_batches(model.cuda(), [{name: x.cuda() for name, x in inputs.items()}]) == expected


def test_the_kernels_of_a_step_are_counted() -> None:
    settings = Settings(batch=2, image_size=16, steps=2, dims=16, heads=2, kernel_shape=(2, 1, 1, 8, 8))
    worker = Worker(OURS, settings, "cuda")
    worker.prepare()
    profile = worker.profile(3)
    assert profile["kernels"]["count"] > 100
    assert profile["kernels"]["ms"] > 0
    assert sum(row["share"] for row in profile["operators"]) <= 1 + 1e-6


def test_trains(small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    parts = assemble(compose(sets=[*SMALL, "dataset.images=100", "train.epochs=1"]))
    result = train(create_run(tmp_path / "run", parts), parts, torch.device("cuda"), Progress())
    assert result.n > 0
    assert 0 <= result.metrics["accuracy"] <= 1
