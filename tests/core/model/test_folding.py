"""Batch norm folded into the convolutions: the same logits, and no way back to training.

What is compared to the bit is copied, drawn under one seed, or computed twice by the same call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from folded_models import batch, norms, with_statistics
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Neuron
from scmrl_plugins.core.measure.recording import moved_spikes, record_spikes
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.folding import optimize
from scmrl_plugins.core.run import weights
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.numerical

Small = Callable[..., Assembly]
FUSIONS = [entry.name for entry in catalogue().entries if entry.kind == "fusion" and entry.plugin.builtin]
BACKBONES = [entry.name for entry in catalogue().entries if entry.kind == "backbone" and entry.plugin.builtin]


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


class Passing(Neuron):
    """Puts out what it gets."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("shape", [{"dims": 1}, {"dims": 1, "bias": True}, {"dims": 2}, {"stride": 2}])
@torch.no_grad()
def test_every_convolution_folds(shape: dict[str, Any]) -> None:
    """The neuron left out, so that the whole of what is convolved is compared."""
    layer = SpikingConv(3, 4, Passing, **shape).double()
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
    with pytest.raises(UserError, match="do not fit the model"):
        weights.load_weights(tmp_path / "folded.safetensors", whole)
    with pytest.raises(UserError, match="do not fit the model"):
        weights.load_weights(tmp_path / "whole.safetensors", folded)
