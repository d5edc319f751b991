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


def test_a_layer_that_fires_the_same_for_every_sample_is_constant(small: Small) -> None:
    """Neither a layer that never fires nor one that is called with one sample counts."""
    model = small(**LATE).model
    clock, dead = (
        model.get_submodule(f"backbones.{name}.patches.stages.0.neuron") for name in ("audio", "visual")
    )
    clock.register_forward_hook(lambda _module, _args, out: torch.ones_like(out))
    dead.register_forward_hook(lambda _module, _args, out: torch.zeros_like(out))
    found, _ = operations.measure(model, operations.random_inputs(model, torch.device("cpu"), batch=3))
    assert "backbones.audio.patches.stages.0.neuron" in found.constant
    assert "backbones.visual.patches.stages.0.neuron" in found.dead
    assert not {*found.dead} & {*found.constant}
    with torch.no_grad(), FiringRates(model) as firing:
        model(**operations.random_inputs(model, torch.device("cpu"), batch=1))
    assert firing.constant == []
    assert (
        operations.measure(small(**LATE).model, operations.random_inputs(model, torch.device("cpu"), 3))[
            0
        ].constant
        == []
    )


def test_constant_logits_are_said_with_the_first_layer_that_passes_nothing_on(small: Small) -> None:
    state = torch.random.get_rng_state()
    assert operations.constant_logits(small(**LATE).model) is None
    model = small(**LATE, neuron={"threshold": 1e6}).model
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    line = operations.constant_logits(model)
    first = "backbones.audio.patches.stages.0.neuron"
    assert line is not None
    assert line.startswith(
        f"the logits are the same for every sample: {first} passes nothing on; lower neuron.thr"
    )
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)


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
