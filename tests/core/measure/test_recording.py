"""Recorded spikes, and how many of them folding moves."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from folded_models import batch, norms, with_statistics

from scmrl_plugins.core.measure.recording import Moved, moved_spikes, optimize_measured, record_spikes
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv

Small = Callable[..., Assembly]


@torch.no_grad()
def test_moved_spikes_are_counted_layer_by_layer(small: Small) -> None:
    model = with_statistics(small(fusion={"name": "late"}))
    other = copy.deepcopy(model)
    name, last = [(n, m) for n, m in other.named_modules() if isinstance(m, SpikingConv)][-1]
    spikes = record_spikes(model, batch())
    last.bn.bias += 100  # every neuron of this layer fires at every step
    layers = moved_spikes(spikes, record_spikes(other, batch()))
    silent = spikes[f"{name}.neuron"][0] == 0
    assert layers.pop(f"{name}.neuron") == Moved(int(silent.sum()), silent.numel())
    assert 0 < silent.sum() < silent.numel()
    assert all(layer.moved == 0 and layer.spikes > 0 for layer in layers.values())


@torch.no_grad()
def test_folding_is_measured(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that goes wrong on purpose shows in the count."""
    model = with_statistics(small())
    same, wrong = copy.deepcopy(model), copy.deepcopy(model)
    total = sum(call.numel() for calls in record_spikes(model, batch()).values() for call in calls)
    optimized = optimize_measured(same, batch())
    assert (optimized.folded, optimized.moved_spikes, optimized.spikes) == (norms(model), 0, total)
    fold = SpikingConv.fold

    def shifted(self: SpikingConv) -> bool:
        folded = fold(self)
        self.conv.bias += 1
        return folded

    monkeypatch.setattr(SpikingConv, "fold", shifted)
    before = record_spikes(model, batch())
    optimized = optimize_measured(wrong, batch())
    layers = moved_spikes(before, record_spikes(wrong, batch())).values()
    assert optimized.moved_spikes == sum(layer.moved for layer in layers) > 0
    moved = f"{optimized.moved_spikes:,} of {total:,} spikes of the first batch moved"
    assert str(optimized).startswith(f"batch norm folded into {norms(model)} convolutions; {moved} (")


@torch.no_grad()
def test_random_spikes_are_the_same_and_leave_the_generator_alone(small: Small) -> None:
    model = with_statistics(small(encoder={"name": "rate"}))
    state = torch.get_rng_state()
    first, second = record_spikes(model, batch()), record_spikes(model, batch())
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(layer.moved for layer in moved_spikes(first, second).values()) == 0
    torch.rand(1)
    assert optimize_measured(model, batch()).moved_spikes == 0


def test_recording_leaves_the_model_as_it_was(small: Small) -> None:
    model = with_statistics(small()).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    record_spikes(model, batch())
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
