"""The rectified linear unit: no state, no spikes, and an ordinary network around it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scmrl_plugins
from scmrl_plugins.plugins.neurons.relu import ReLU


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_every_step_is_rectified_by_itself(steps: int, seed: int) -> None:
    x = torch.randn(steps, 3, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    y = ReLU(ReLU.Config())(x)
    assert torch.equal(y, x.clamp_min(0))
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (x > 0).float())


@pytest.mark.slow
@pytest.mark.numerical
def test_the_twin_is_an_ordinary_network() -> None:
    """The same learned parameters as the spiking network, and real numbers between the layers."""
    sections = {"neuron": {"name": "relu"}, "model": {"steps": 1}}
    model = scmrl_plugins.build(sections).eval()
    spiking = scmrl_plugins.build({"model": {"steps": 1}})
    learned = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {name: p.shape for name, p in spiking.named_parameters() if p.requires_grad}
    seen = {}
    neuron = model.fusion.audio_from_visual.spatial.neuron
    neuron.register_forward_hook(lambda _module, given, out: seen.update(x=given[0], y=out))
    model(torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16))
    assert torch.equal(seen["y"], seen["x"].relu())
    assert len(seen["y"].unique()) > 2
