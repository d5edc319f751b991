"""The learned time constant: its initial value, and that it learns.

Spikes are compared to the bit: see test_fused.py.
"""

from __future__ import annotations

import pytest
import torch
from fused_neurons import (
    make,
    noise,
)

from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("tau", [1.01, 1.5, 2.0, 8.0])
def test_plif_starts_from_its_tau(tau: float) -> None:
    neuron = make(PLIF, tau=tau)
    assert 1 / neuron.w.sigmoid().item() == pytest.approx(tau, rel=1e-5)


@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_plif_before_it_learns_spikes_as_lif_does(tau: float) -> None:
    x = noise(6, 3, 40, dtype=torch.float64)
    plif, lif = make(PLIF, tau=tau).double(), make(LIF, tau=tau).double()
    # w is a float32 at the start, so that 1 / k is tau to its precision; at tau = 2 exactly.
    assert (plif(x) != lif(x)).float().mean() < 0.01
    if tau == 2.0:
        assert torch.equal(plif(x), lif(x))


@pytest.mark.parametrize("detach", [True, False])
def test_plifs_tau_learns(detach: bool) -> None:
    """The rate of firing of a neuron with a short time constant, reached from a long one."""
    x = noise(8, 4, 200)
    wanted = make(PLIF, tau=1.3)(x).mean().detach()
    neuron = make(PLIF, tau=6.0, detach_membrane=detach)
    optimizer = torch.optim.Adam([neuron.w], lr=0.1)
    losses = []
    for _ in range(80):
        loss = (neuron(x).mean() - wanted).square()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    assert 1 / neuron.w.sigmoid().item() < 3


def test_plif_learns_its_tau_for_inputs_that_ask_for_no_gradient() -> None:
    """As the first layer of a model: the input has no gradient, the parameter has."""
    neuron, x = make(PLIF), noise(4, 2, 30)
    neuron(x).sum().backward()
    alone = neuron.w.grad.clone()
    neuron.zero_grad()
    neuron(x.clone().requires_grad_()).sum().backward()
    assert torch.equal(alone, neuron.w.grad)
    assert alone != 0
    with torch.no_grad():
        assert not neuron(x).requires_grad
