"""Spiking convolutions: a static input is computed once; a recorded neuron sees the full batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fusion_cases import B, Make, T
from spiking_layers import LAYOUTS, assert_same, image, make, run
from torch import Tensor, nn

from scmrl_plugins.plugins.layers import recompute, spiking_conv
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cls", [LIF, PLIF])
def test_a_step_repeated_equals_its_copies(cls: Any, layout: torch.memory_format, training: bool) -> None:
    """With the running statistics, which count T times as many values."""
    x = image()
    once, every = make(cls, layout).train(training), make(cls, layout).train(training)
    calls: list[Tensor] = []
    once.conv.register_forward_hook(lambda _module, args, _out: calls.append(args[0]))
    ours = run(once, x, None)
    assert [call.shape[0] for call in calls] == [5]
    theirs = run(every, x.expand(4, *x.shape).contiguous(), None)
    theirs["x"] = theirs["x"].sum(0)
    assert_same(ours, theirs)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_the_running_variance_of_a_step_repeated(momentum: float | None) -> None:
    once, every = nn.BatchNorm2d(3, momentum=momentum).double(), nn.BatchNorm2d(3, momentum=momentum).double()
    for scale in (1.0, 3.0):
        y = image() * scale
        spiking_conv.norm(once, y, 4)
        every(y.repeat(4, 1, 1, 1))
    torch.testing.assert_close(once.running_var, every.running_var, rtol=1e-12, atol=0)
    torch.testing.assert_close(once.running_mean, every.running_mean, rtol=1e-12, atol=1e-15)
    assert once.num_batches_tracked == 2


def test_a_hooked_neuron_gets_the_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "CHUNK", 1)
    conv, seen = make(LIF, torch.contiguous_format), []
    handle = conv.neuron.register_forward_hook(lambda _module, _args, out: seen.append(out.shape))
    conv(image().expand(4, -1, -1, -1, -1), nn.MaxPool2d(3, 2, 1))
    assert seen == [(4, 5, 8, 9, 7)]
    handle.remove()
    conv.neuron.requires_fp = True
    conv(image().expand(4, -1, -1, -1, -1), nn.MaxPool2d(3, 2, 1))
    assert [step.shape for step in conv.neuron.feature_map] == [(5, 8, 9, 7)] * 4


def test_a_strided_spiking_conv_is_a_shortcut(make_context: Make) -> None:
    layer = SpikingConv(2, 4, make_context().neuron, stride=4)
    assert layer(torch.randn(T, B, 2, 10, 9)).shape == (T, B, 4, 3, 3)
