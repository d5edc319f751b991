"""The rectified linear unit with few bits: its levels, its straight-through gradient, and the twin it makes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scmrl_plugins
from scmrl_plugins.core.evaluation.profile import kind_of
from scmrl_plugins.plugins.neurons.quantized import Quantized
from scmrl_plugins.registry import UserError


@given(st.integers(1, 8), st.floats(0.5, 8), st.integers(0, 10_000))
def test_an_output_is_the_nearest_level(bits: int, limit: float, seed: int) -> None:
    x = (3 * torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(seed))).double().requires_grad_()
    y = Quantized(Quantized.Config(bits=bits, limit=limit))(x)
    step = limit / (2**bits - 1)
    levels = y.detach() / step
    assert torch.allclose(levels, levels.round(), atol=1e-6)
    assert 0 <= float(levels.min()) <= float(levels.max()) <= 2**bits - 1 + 1e-9
    assert float((y - x.clamp(0, limit)).detach().abs().max()) <= step / 2 * (1 + 1e-9)
    y.sum().backward()
    assert torch.equal(x.grad, ((x > 0) & (x < limit)).double())


@pytest.mark.parametrize("bits", [1, 3])
def test_all_levels_are_reached(bits: int) -> None:
    y = Quantized(Quantized.Config(bits=bits))(torch.linspace(-1, 4, 1000).view(1, 1, -1))
    assert len(y.unique()) == 2**bits


def test_the_twin_has_the_parameters_of_the_spiking_network() -> None:
    sections = {"model": {"steps": 1}, "fusion": {"name": "late"}}
    model = scmrl_plugins.build({**sections, "neuron": {"name": "quantized", "bits": 2}})
    spiking = scmrl_plugins.build(sections)
    learned = [{n: p.shape for n, p in one.named_parameters() if p.requires_grad} for one in (model, spiking)]
    assert learned[0] == learned[1]
    assert kind_of(model) == ("qnn", 2)
    with pytest.raises(UserError, match="bits"):
        scmrl_plugins.build({**sections, "neuron": {"name": "quantized", "bits": 0}})
