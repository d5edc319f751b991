"""The adaptive threshold: without it ``lif``; how it rises, decays and carries gradients.

Spikes are compared to the bit: see test_fused.py.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fused_neurons import (
    gradients,
    make,
    noise,
)

from scmrl_plugins.plugins.neurons.alif import ALIF
from scmrl_plugins.plugins.neurons.lif import LIF

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("detach", [True, False])
def test_alif_without_adaptation_is_lif_to_the_bit(detach: bool, dtype: torch.dtype) -> None:
    x = noise(6, 3, 41).to(dtype)
    shared: dict[str, Any] = {"detach_membrane": detach, "threshold": 0.7, "tau": 1.7}
    alif, lif = make(ALIF, beta=0.0, **shared), make(LIF, **shared)
    ours, plain = gradients(alif, x, alif), gradients(lif, x, lif)
    assert torch.equal(alif(x), lif(x))
    assert torch.equal(ours["x"], plain["x"])


def test_alifs_threshold_rises_by_beta_and_falls_back() -> None:
    """Driven at tau = 1 the membrane is the input, so an input just above or below the threshold shows it."""
    decay = math.exp(-1 / 5)
    after_two = (0.5 * decay + 0.5) * decay**2  # spikes at t = 0 and 1, two steps without
    start = [2.0, 2.0, 0.0, 0.0]
    neuron = make(ALIF, tau=1.0, threshold=1.0, beta=0.5, tau_adaptation=5.0).double()
    for off, last in ((1e-6, 1.0), (-1e-6, 0.0)):
        row = torch.tensor([*start, 1 + after_two + off], dtype=torch.float64)
        out = neuron(row.view(5, 1, 1)).flatten()
        assert out.tolist() == [1.0, 1.0, 0.0, 0.0, last]


def test_alif_fires_less_the_stronger_it_adapts() -> None:
    x = noise(40, 2, 50).abs()
    rates = [make(ALIF, beta=beta)(x).mean().item() for beta in (0.0, 0.2, 1.0)]
    assert rates[0] > rates[1] > rates[2] > 0


def test_alifs_adaptation_carries_gradients_unless_detached() -> None:
    """With tau = 1 the membrane forgets at once: what crosses time then is the adaptation alone."""
    x = torch.full((3, 1, 1), 0.9, dtype=torch.float64, requires_grad=True)
    for detach in (True, False):
        spikes = make(ALIF, tau=1.0, beta=0.5, detach_membrane=detach).double()(x)
        (grad,) = torch.autograd.grad(spikes[2].sum(), x)
        assert grad[2] > 0
        assert (grad[0] == 0) == detach
    assert grad[0] < 0  # a spike then makes one now less likely
