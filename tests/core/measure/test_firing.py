"""Firing rates are counts of spikes; layers that never fire are named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.measure.firing import FiringRates
from scmrl_plugins.core.model.assembly import Assembly

Small = Callable[..., Assembly]
LATE = {"fusion": {"name": "late"}, "backbone": {"mlp_ratio": 2.0}}


def test_firing_rates_count_spikes(small: Small) -> None:
    model = small(**LATE).model
    inputs = operations.random_inputs(model, torch.device("cpu"), batch=4)
    expected: dict[str, list[torch.Tensor]] = {}
    for name, module in model.named_modules():
        if name.endswith("neuron"):
            module.register_forward_hook(
                lambda _module, _args, out, name=name: expected.setdefault(name, []).append(out)
            )
    with torch.no_grad(), FiringRates(model) as firing:
        model(**inputs)
        model(**{name: x * 0.5 for name, x in inputs.items()})
    assert firing.rates.keys() == expected.keys()
    for name, rate in firing.rates.items():
        assert rate == pytest.approx(torch.stack(expected[name]).mean().item())
        assert 0 <= rate <= 1
    counted = dict(firing.rates)
    model(**inputs)
    assert firing.rates == counted
    assert 0 < max(counted.values()) < 1


def test_dead_layers_are_reported(small: Small) -> None:
    model = small(fusion={"name": "cmrl", "attention_threshold": 1e6}).model
    found, _ = operations.measure(model, operations.random_inputs(model, torch.device("cpu")))
    dead = {
        f"fusion.{way}.{kind}.neuron"
        for way in ("audio_from_visual", "visual_from_audio")
        for kind in ("spatial", "temporal")
    }
    assert dead <= set(found.dead)
    assert "backbones.audio.patches.stages.0.neuron" not in found.dead
    assert all(found.firing_rates[name] == 0 for name in found.dead)
