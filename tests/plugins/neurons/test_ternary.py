"""Spikes of both signs: odd, reset by either, ``lif`` for inputs of one sign.

Spikes are compared to the bit: see test_fused.py.
"""

from __future__ import annotations

import pytest
import torch
from fused_neurons import (
    configurations,
    make,
    noise,
    sequences,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.ternary import Ternary

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("detach", [True, False])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_ternary_is_odd(detach: bool, data: st.DataObject) -> None:
    x = data.draw(sequences())
    neuron = make(Ternary, detach_membrane=detach, **data.draw(configurations(Ternary))).double()
    out = neuron(x)
    assert torch.equal(neuron(-x), -out)
    assert set(out.unique().tolist()) <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("detach", [True, False])
def test_ternary_is_lif_for_inputs_of_one_sign(detach: bool) -> None:
    x = noise(6, 3, 40).abs()
    assert torch.equal(make(Ternary, detach_membrane=detach)(x), make(LIF, detach_membrane=detach)(x))


def test_ternary_resets_after_a_spike_of_either_sign() -> None:
    neuron = make(Ternary)
    neuron.requires_mem = True
    out = neuron(noise(6, 3, 40))
    membrane = torch.stack(neuron.mem_collect)
    assert (membrane[out != 0] == 0).all()
    assert (membrane[out == 0].abs() < 1).all()
    assert set(out.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_ternary_with_the_papers_surrogate() -> None:
    """``gate`` with slope 2 about thresholds of 1/2: the derivative is 1 for 0 < |v| < 1, else 0."""
    v = torch.tensor([-1.5, -1.01, -0.99, -0.5, -0.01, 0.01, 0.5, 0.99, 1.01, 1.5], dtype=torch.float64)
    leaf = v.view(1, 1, -1).clone().requires_grad_()
    make(Ternary, tau=1.0, threshold=0.5, surrogate="gate", alpha=2.0).double()(leaf).sum().backward()
    assert leaf.grad.flatten().tolist() == [float(abs(value) < 1) for value in v.tolist()]
