"""Batch norm folded into the convolutions: the same logits, the spikes that moved, and no way back to training.

What is compared to the bit is copied, drawn under one seed, or computed twice by the same call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import evaluate, first_inputs
from scmrl_plugins.core.measure.recording import Moved, moved_spikes, optimize_measured, record_spikes
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.model.folding import optimize
from scmrl_plugins.core.run import weights
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.numerical

Small = Callable[..., Assembly]
FUSIONS = [entry.name for entry in catalogue().entries if entry.kind == "fusion" and entry.plugin.builtin]
BACKBONES = [entry.name for entry in catalogue().entries if entry.kind == "backbone" and entry.plugin.builtin]


def batch(seed: int = 0, steps: int | None = None) -> dict[str, Tensor]:
    """Inputs of the blobs, static, or with ``steps`` an input a time step."""
    draw = torch.Generator().manual_seed(seed)
    time = () if steps is None else (steps,)
    sizes = {"audio": (5, *time, 1, 8, 8), "visual": (5, *time, 2, 8, 8)}
    return {name: torch.randn(size, generator=draw, dtype=torch.float64) for name, size in sizes.items()}


def with_statistics(parts: Assembly) -> AudioVisualModel:
    """The model in float64, as if trained: no scale is 1, no mean is 0."""
    draw = torch.Generator().manual_seed(1)
    model = parts.model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draw)
            nn.init.normal_(module.bias, std=0.3, generator=draw)
    with torch.no_grad():
        for seed in range(3):
            model.train()(**batch(10 + seed))
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize(
    ("fusion", "backbone"), [*((f, "spikformer") for f in FUSIONS), *(("late", b) for b in BACKBONES)]
)
@torch.no_grad()
def test_a_folded_model_gives_the_same_logits(small: Small, fusion: str, backbone: str, steps: int | None) -> None:
    readout = {"name": "add"}
    model = with_statistics(small(fusion={"name": fusion}, backbone={"name": backbone}, readout=readout))
    inputs = batch(steps=steps)
    expected, there = model(**inputs), norms(model)
    before = record_spikes(model, inputs)
    assert optimize(model) == there > 0
    assert norms(model) == 0
    output = model(**inputs)
    torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=1e-9)
    layers = moved_spikes(before, record_spikes(model, inputs))
    assert all(layer.moved == 0 for layer in layers.values())
    assert any(call.any() for calls in before.values() for call in calls)


@pytest.mark.parametrize("shape", [{"dims": 1}, {"dims": 1, "bias": True}, {"dims": 2}, {"stride": 2}])
@torch.no_grad()
def test_every_convolution_folds(shape: dict[str, Any]) -> None:
    """The neuron left out, so that the whole of what is convolved is compared."""
    layer = SpikingConv(3, 4, nn.Identity, **shape).double()
    nn.init.uniform_(layer.bn.weight, 0.5, 1.5)
    nn.init.normal_(layer.bn.bias)
    x = torch.randn(2, 5, 3, *([6] if shape.get("dims") == 1 else [6, 6]), dtype=torch.float64)
    layer(2 * x + 1)
    layer.eval()
    if isinstance(layer.conv, nn.Conv2d):
        layer.to(memory_format=torch.channels_last)
    strides, expected, static = layer.conv.weight.stride(), layer(x), layer(x[:1].expand(2, *x.shape[1:]))
    assert layer.fold()
    assert layer.conv.weight.stride() == strides
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x[:1].expand(2, *x.shape[1:])), static, rtol=0, atol=1e-12)
    assert not layer.fold()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_nothing_is_folded_twice(small: Small) -> None:
    model = with_statistics(small())
    assert optimize(model) > 0
    expected = model(**batch()).logits
    assert optimize(model) == 0
    assert torch.equal(model(**batch()).logits, expected)


def test_batch_norm_of_the_batch_itself_stays() -> None:
    layer = SpikingConv(3, 4, nn.Identity)
    layer.bn = nn.BatchNorm1d(4, track_running_stats=False)
    assert optimize(layer) == 0
    assert isinstance(layer.bn, nn.BatchNorm1d)


def test_a_model_without_anything_to_fold_only_stops_training() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fold = nn.Fold(4, 2)  # a layer of that name is not the method

    model = nn.Sequential(Other(), nn.BatchNorm1d(3))
    assert optimize(model) == 0
    assert not model[1].training


def test_any_module_can_fold() -> None:
    class Block(nn.Linear):
        def fold(self) -> bool:
            assert not self.training
            return self.in_features == 2

    assert optimize(nn.Sequential(Block(2, 3), nn.Sequential(Block(3, 2)))) == 1


# What moved ---------------------------------------------------------------------------------------------


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
    said = f"{optimized.moved_spikes:,} of {total:,} spikes of the first batch moved"
    assert str(optimized).startswith(f"batch norm folded into {norms(model)} convolutions; {said} (")


@torch.no_grad()
def test_random_spikes_are_the_same_and_leave_the_generator_alone(small: Small) -> None:
    model = with_statistics(small(encoder={"name": "rate"}))
    state = torch.get_rng_state()
    first, second = record_spikes(model, batch()), record_spikes(model, batch())
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(layer.moved for layer in moved_spikes(first, second).values()) == 0
    torch.rand(1)
    assert optimize_measured(model, batch()).moved_spikes == 0


def test_the_measured_batch_is_the_one_evaluated_first(small: Small) -> None:
    """And an encoder that draws finds its generator as it would without."""
    parts = small()
    loader = evaluation_loader(load_splits(parts.dataset, parts.config, ["test"])["test"], parts.config)
    disturbance = Disturbance(noise={"audio": 3.0}, occlusion={"visual": 0.2})
    state = torch.get_rng_state()
    first = first_inputs(loader, torch.device("cpu"), disturbance=disturbance, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    given: list[dict[str, Tensor]] = []
    parts.model.register_forward_pre_hook(lambda _m, _args, kwargs: given.append(kwargs), with_kwargs=True)
    evaluate(parts.model, parts.loss, loader, torch.device("cpu"), disturbance=disturbance, seed=5)
    assert len(given) > 1
    assert given[0].keys() == first.keys()
    assert all(torch.equal(given[0][name], x) for name, x in first.items())


def test_recording_leaves_the_model_as_it_was(small: Small) -> None:
    model = with_statistics(small()).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    record_spikes(model, batch())
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


# No way back --------------------------------------------------------------------------------------------


def test_a_folded_model_refuses_training(small: Small) -> None:
    model = with_statistics(small())
    optimize(model)
    with pytest.raises(UserError, match="folded") as refused:
        model.train()
    assert len(str(refused.value).splitlines()) == 1
    model.eval()
    model(**batch())


def test_weights_of_a_folded_model_are_those_of_no_run(small: Small, tmp_path: Path) -> None:
    folded = with_statistics(small())
    whole = copy.deepcopy(folded)
    optimize(folded)
    weights.save_weights(tmp_path / "folded.safetensors", folded)
    weights.save_weights(tmp_path / "whole.safetensors", whole)
    with pytest.raises(UserError, match="of another model"):
        weights.load_weights(tmp_path / "folded.safetensors", whole)
    with pytest.raises(UserError, match="of another model"):
        weights.load_weights(tmp_path / "whole.safetensors", folded)
