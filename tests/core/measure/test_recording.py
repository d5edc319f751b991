"""Recorded spikes, membranes and attention, and how many spikes folding moves."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import pytest
import torch
from folded_models import batch, norms, with_statistics

from scmrl_plugins.core.measure import record
from scmrl_plugins.core.measure.firing import FiringRates
from scmrl_plugins.core.measure.recording import Moved, moved_spikes, optimize_measured, record_spikes
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.plugins.layers.attention import SpikingAttention
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.registry import UserError

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


def attention_layers(model: torch.nn.Module) -> dict[str, SpikingAttention]:
    return {name: module for name, module in model.named_modules() if isinstance(module, SpikingAttention)}


@torch.no_grad()
def test_recorded_spikes_are_those_of_the_layers(small: Small) -> None:
    """Rates equal a direct count, and membranes follow the equation of the neuron from the recorded spikes."""
    model = with_statistics(small())
    inputs = batch()
    with FiringRates(model) as firing:
        logits = model(**inputs).logits
    recording = record(model, **inputs)
    assert set(recording.spikes) == set(firing.rates)
    for name, spikes in recording.spikes.items():
        assert spikes.shape[:2] == (2, 5)
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        assert spikes.mean().item() == pytest.approx(firing.rates[name])
        membrane = recording.membranes[name]
        assert membrane.shape == spikes.shape
        assert (membrane[spikes == 1] == 0).all()
        assert (membrane[spikes == 0] < 0.3).all()  # the threshold of the blobs
    assert torch.equal(model(**inputs).logits, logits)


@pytest.mark.parametrize("neuron", ["braincog:PLIFNode", "alif", "relu", "braincog:ReLUNode"])
def test_membranes_are_recorded_where_a_neuron_has_them(small: Small, neuron: str) -> None:
    model = with_statistics(small(neuron={"name": neuron}))
    recording = record(model, **batch())
    has = "relu" not in neuron.lower()
    assert set(recording.membranes) == (set(recording.spikes) if has else set())
    for name, membrane in recording.membranes.items():
        assert membrane.shape == recording.spikes[name].shape
    assert any(membrane.any() for membrane in recording.membranes.values()) == has


@torch.no_grad()
@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_attention_weights_times_values_are_the_current(small: Small, kind: str) -> None:
    model = with_statistics(small(fusion={"name": "cmrl", "attention": kind}))
    found = {}

    def attend(layer: SpikingAttention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        found[layer] = v, type(layer).attend(layer, q, k, v)
        return found[layer][1]

    for layer in attention_layers(model).values():
        layer.attend = attend.__get__(layer)
    attention = record(model, **batch()).attention
    assert list(attention) == list(attention_layers(model))
    for name, layer in attention_layers(model).items():
        v, current = found[layer]
        values = v.unflatten(2, (2, 4))  # [T, B, h, d, M]
        if kind == "spatial":
            mixed = torch.einsum("tbhnm,tbhdm->tbhdn", attention[name], values)
        else:
            mixed = torch.einsum("tbhns,sbhdn->tbhdn", attention[name], values)
        torch.testing.assert_close(mixed.flatten(2, 3), current)
        assert attention[name].any()
        assert layer.attention_weights is None


@pytest.mark.parametrize(
    ("fusion", "layers", "shape"),
    [("sca", 2, (2, 5, 2, 4, 4)), ("taaf", 1, (1, 5, 1, 1, 2)), ("cmqka", 2, (2, 5, 2, 1, 4)), ("late", 0, ())],
)
def test_attention_of_other_fusions(small: Small, fusion: str, layers: int, shape: tuple[int, ...]) -> None:
    attention = record(with_statistics(small(fusion={"name": fusion})), **batch()).attention
    assert [tuple(weights.shape) for weights in attention.values()] == layers * [shape]


def test_recording_leaves_nothing_behind(small: Small) -> None:
    """Neither hooks nor what was recorded, also where the model refuses the inputs; modes of modules are kept."""
    model = with_statistics(small()).train()
    model.backbones["audio"].eval()
    modes = [module.training for module in model.modules()]
    for inputs in (batch(), {"audio": batch()["audio"]}):
        with contextlib.suppress(UserError):
            record(model, **inputs)
        assert [module.training for module in model.modules()] == modes
        assert not any(module._forward_hooks for module in model.modules())
        for module in model.modules():
            if isinstance(module, model.neuron_type):
                assert not module.requires_mem
                assert module.mem_collect == []
    assert not any(layer.requires_attention for layer in attention_layers(model).values())


def test_a_layer_that_is_called_twice_has_both_calls(small: Small) -> None:
    late = with_statistics(small(fusion={"name": "late"}))
    layer = late.backbones["audio"].mlp
    late.backbones["visual"].mlp = layer
    names = list(record(late, **batch()).spikes)
    twice = [name for name in names if name.endswith("#2")]
    assert twice
    assert all(name.removesuffix("#2") in names for name in twice)
