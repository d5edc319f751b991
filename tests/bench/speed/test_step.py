from __future__ import annotations

import pytest
import torch
from tiny_model import TINY

from scmrl_plugins.bench.speed.settings import BASELINE, OURS
from scmrl_plugins.bench.speed.step import Step


def step(variant: str) -> Step:
    return Step(TINY.config(variant), torch.device("cpu"), every_step=variant == BASELINE)


@pytest.mark.slow
def test_both_variants_are_one_model() -> None:
    steps = {variant: step(variant) for variant in (BASELINE, OURS)}
    weights = {variant: dict(step.model.named_parameters()) for variant, step in steps.items()}
    common = weights[BASELINE].keys() & weights[OURS].keys()
    assert any("conv" in name for name in common)
    assert all(torch.equal(weights[BASELINE][name], weights[OURS][name]) for name in common)
    assert steps[BASELINE].train() == pytest.approx(steps[OURS].train(), rel=1e-4)


def test_only_the_baseline_runs_its_first_layer_on_every_step() -> None:
    seen = {}
    for variant in (BASELINE, OURS):
        built = step(variant)
        strides: list[int] = []
        built.model.backbones["visual"].register_forward_pre_hook(
            lambda _module, inputs, strides=strides: strides.append(inputs[0].stride(0))
        )
        built.infer()
        seen[variant] = strides
    assert seen[BASELINE][0] > 0
    assert seen[OURS] == [0]


def test_neurons_fire_in_inference_as_in_training() -> None:
    built = step(OURS)
    rates: list[float] = []
    for module in built.model.modules():
        if isinstance(module, built.model.neuron_type):
            module.register_forward_hook(lambda _module, _inputs, spikes: rates.append(spikes.mean().item()))
    built.train()
    in_training, rates[:] = list(rates), []
    built.model.eval()
    built.infer()
    assert sum(rates) == pytest.approx(sum(in_training), rel=0.2)
