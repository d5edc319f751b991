"""Fused neurons, their inputs and settings, and what their step computes under plain autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.plugins.neurons.alif import ALIF
from scmrl_plugins.plugins.neurons.integrate_and_fire import IF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES
from scmrl_plugins.plugins.neurons.ternary import Ternary
from scmrl_plugins.plugins.neurons.upstream import node

NEURONS = [IF, LIF, PLIF, ALIF, Ternary]
NAMES = sorted(SURROGATES)
OF_BRAINCOG = {IF: node.IFNode, LIF: node.LIFNode, PLIF: node.PLIFNode}
TIES = [-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
DTYPES = [torch.float32, torch.float64]


def make(cls: Any, **config: Any) -> Any:
    return cls(cls.Config(**config))


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 + 0.4


def stepped(neuron: Any, x: Tensor, detach: bool = False) -> tuple[Tensor, list[Tensor]]:
    """The neuron's own step equation over time under plain autograd; ``detach`` cuts the state between steps."""
    state, spikes, potential = None, [], []
    for current in x:
        if detach and state is not None:
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        s, state = neuron.single_step(current, state)
        spikes.append(s)
        potential.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(spikes), potential


@st.composite
def sequences(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Tensor:
    """``[T, B, *]`` with ties at the thresholds and zeros in it."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 3)) | st.tuples(*[st.integers(1, 3)] * 4))
    values = st.sampled_from(TIES) | st.floats(-4, 4)
    count = math.prod(shape)
    return torch.tensor(draw(st.lists(values, min_size=count, max_size=count)), dtype=dtype).view(shape)


@st.composite
def configurations(draw: st.DrawFn, cls: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "threshold": draw(st.sampled_from([0.25, 0.5, 0.7, 1.0])),
        "surrogate": draw(st.sampled_from(NAMES)),
        "alpha": draw(st.sampled_from([0.5, 1.3, 4.0])),
    }
    if "tau" in cls.Config.model_fields:
        config["tau"] = draw(st.sampled_from([1.25, 2.0, 3.7]))
    if cls is ALIF:
        config["beta"] = draw(st.sampled_from([0.0, 0.25, 1.1]))
        config["tau_adaptation"] = draw(st.sampled_from([0.3, 2.0, 50.0]))
    return config


def gradients(neuron: Any, x: Tensor, call: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    neuron.zero_grad()
    leaf = x.clone().requires_grad_()
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(x.dtype)
    (call(leaf) * weight).sum().backward()
    learned = {name: p.grad.clone() for name, p in neuron.named_parameters() if p.grad is not None}
    return {"x": leaf.grad, **learned}
