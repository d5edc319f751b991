"""The figures of ``scmrl bench speed``, and the processes behind them."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType

from scmrl_plugins.bench.speed import compare, report, worker
from scmrl_plugins.bench.speed.compare import BASELINE, OURS, Settings, Side
from scmrl_plugins.bench.speed.worker import Layout, Products, Step, Task, Worker
from scmrl_plugins.bench.spread import doublings
from scmrl_plugins.core.config import layers
from scmrl_plugins.core.run import environment
from scmrl_plugins.registry import UserError

TINY = Settings(batch=2, image_size=16, steps=2, dims=16, heads=2, threads=1, repeats=2, kernel_shape=(2, 1, 3))


def task(variant: str, settings: Settings = TINY) -> Task:
    return Task(
        config=settings.config(variant).model_dump(),
        device="cpu",
        threads=1,
        batch=settings.batch,
        kernel_shape=settings.kernel_shape,
        every_step=variant == BASELINE,
        keep_blocks=False,
    )


def test_a_ratio_is_the_baseline_over_ours() -> None:
    found = compare.versus({BASELINE: [6.0, 4.0, 9.0], OURS: [2.0, 3.0, 8.0]})
    assert found["ratio"] == 2.0
    assert found["median_ratio"] == 2.0
    assert found[OURS] == {"minimum": 2.0, "median": 3.0, "seconds": [2.0, 3.0, 8.0]}


def test_both_variants_are_one_model() -> None:
    steps = {variant: Step(task(variant), TINY.config(variant)) for variant in (BASELINE, OURS)}
    weights = {variant: dict(step.model.named_parameters()) for variant, step in steps.items()}
    common = weights[BASELINE].keys() & weights[OURS].keys()
    assert any("conv" in name for name in common)
    assert all(torch.equal(weights[BASELINE][name], weights[OURS][name]) for name in common)
    assert steps[BASELINE].train() == pytest.approx(steps[OURS].train(), rel=1e-4)


def test_only_the_baseline_runs_its_first_layer_on_every_step() -> None:
    seen = {}
    for variant in (BASELINE, OURS):
        step = Step(task(variant), TINY.config(variant))
        strides: list[int] = []
        step.model.backbones["visual"].register_forward_pre_hook(
            lambda _module, inputs, strides=strides: strides.append(inputs[0].stride(0))
        )
        step.infer()
        seen[variant] = strides
    assert seen[BASELINE][0] > 0
    assert seen[OURS] == [0]


def test_the_arithmetic_of_a_step_is_its_convolutions_and_products() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.ReLU(), nn.Linear(8, 3))
    with Products() as products:
        net(torch.zeros(5, 1, 4, 4)).sum().backward()
    noted = sorted((str(function.overloadpacket), count) for function, _, count in products.calls.values())
    names = {name for name, _ in noted}
    assert names == {"aten.convolution", "aten.convolution_backward", "aten.addmm", "aten.mm"}
    function, ((x, *_), _), _ = next(iter(products.calls.values()))
    assert (str(function), x) == ("aten.convolution.default", Layout((5, 1, 4, 4), (16, 16, 4, 1), torch.float32))


def test_a_layout_is_made_again_with_its_strides() -> None:
    for x in (torch.zeros(3, 4).T, torch.zeros(4, 1).expand(4, 5)):
        made = Layout.of(x).random(torch.device("cpu"))
        assert (made.shape, made.stride(), made.dtype) == (x.shape, x.stride(), x.dtype)


def test_a_worker_measures() -> None:
    threads = torch.get_num_threads()
    side = Worker(task(OURS))
    try:
        prepared = side.prepare()
        assert prepared["first_loss"] > 0
        assert prepared["memory"] is None or prepared["memory"] > 0
        assert side.first_loss("channels-first") == pytest.approx(prepared["first_loss"], rel=1e-2)
        assert min(side.train(), side.infer(), side.arithmetic(), side.kernel()) > 0
        assert side.infer_folded() > 0
        assert any(isinstance(module, nn.BatchNorm2d) for module in side.step.model.modules())
        assert not any(isinstance(module, nn.BatchNorm2d) for module in side.folded.model.modules())
        profile = side.profile(3)
        rows = profile["operators"]
        assert len(rows) == 3
        assert profile["kernels"] is None
        assert rows[0]["ms"] >= rows[1]["ms"]
        assert all(seconds > 0 for seconds in side.scale_steps((1, 2), 1))
        assert all(seconds > 0 for seconds in side.scale_tokens("cmqka", (4, 8), 1))
    finally:
        torch.set_num_threads(threads)


def test_kernels_are_counted_and_those_of_tensor_cores_told() -> None:
    names = ["ampere_bf16_s16816gemm_bf16_128x128", "nvjet_tst_128x64", "ampere_sgemm_128x64_nn", "triton_poi_0"]
    ran = [SimpleNamespace(name=n, device_type=DeviceType.CUDA, self_device_time_total=250.0) for n in names]
    beside = [
        SimpleNamespace(name="Memcpy HtoD", device_type=DeviceType.CUDA, self_device_time_total=9.0),
        SimpleNamespace(name="aten::mm", device_type=DeviceType.CPU, self_device_time_total=500.0),
    ]
    found = worker.kernels([*ran, *beside])
    assert found == {"count": 4, "ms": 1.0, "tensor_cores": 0.5}
    assert worker.kernels([]) == {"count": 0, "ms": 0.0, "tensor_cores": 0.0}
    lines = report._profile({"operators": [], "kernels": found})
    assert lines[-1] == (
        "Kernels of the GPU in a training step: 4, 1 ms of work, 50% of it on tensor cores, by the kernels' names."
    )


def test_neurons_fire_in_inference_as_in_training() -> None:
    step = Step(task(OURS), TINY.config(OURS))
    rates: list[float] = []
    for module in step.model.modules():
        if isinstance(module, step.model.neuron_type):
            module.register_forward_hook(lambda _module, _inputs, spikes: rates.append(spikes.mean().item()))
    step.train()
    in_training, rates[:] = list(rates), []
    step.model.eval()
    step.infer()
    assert sum(rates) == pytest.approx(sum(in_training), rel=0.2)


def test_a_size_that_no_model_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.image_size"):
        replace(TINY, image_size=1).config(OURS)


def test_a_process_that_dies_is_named_with_its_last_words() -> None:
    with (
        Side(OURS, TINY, "cpu") as side,
        pytest.raises(UserError, match=r"'ours' ended with code 1: AttributeError: .*'nothing'"),
    ):
        side.ask("nothing")
    with Side(BASELINE, TINY, "cpu") as side:
        os.kill(side._process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"'baseline' ended by SIGKILL: it said nothing; if that is for want"):
            side.ask("prepare")


def test_what_is_not_known_is_said() -> None:
    timed = compare.versus({BASELINE: [2.0], OURS: [1.0]})
    found = {
        "train": timed,
        "inference": timed,
        "inference_folded": timed,
        "kernel": {"shape": [2, 3], **timed},
        "memory": {BASELINE: None, OURS: None, "ratio": None},
        "bare_ms": 500.0,
        "times_bare": 2.0,
        "compile_seconds": 0.0,
        "first_losses": {BASELINE: 1.0, OURS: 1.5, "ours_channels_first": 1.5},
        "same_first_loss": False,
        "parameters": 12,
        "warnings": ["no compiler"],
        "settings": vars(TINY),
        "hardware": environment.hardware("cpu"),
        "environment": {"packages": {"torch": "2"}, "platform": "here"},
        "scaling": {"steps": doublings((4, 8), (1.0, 2.0)), "tokens": {}},
    }
    said = report.markdown(found, "scmrl bench speed")
    assert "| training step | 2.00 s | 1.00 s | 2.00 | 2.00 |" in said
    assert "not known here | not known here |" in said
    assert "not one model" in said
    assert "warning: no compiler" in said
    assert "| time steps, training step | 8 | 2.00 s | 2.00 |" in said


def test_the_configuration_of_a_variant_is_whole() -> None:
    baseline, ours = TINY.config(BASELINE), TINY.config(OURS)
    assert layers.validate(baseline.model_dump()) == baseline
    assert (baseline.neuron.name, ours.neuron.name) == ("braincog:LIFNode", "lif")
    assert (baseline.model.layout, ours.model.layout) == ("channels-first", "channels-last")
    differing = {key for key in ours.model_dump() if getattr(ours, key) != getattr(baseline, key)}
    assert differing == {"neuron", "model"}
