"""The table of surrogates: formulas, areas, documentation, and BrainCog's nodes with them.

Steps are compared to the bit, derivatives within a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fused_neurons import (
    NAMES,
    OF_BRAINCOG,
    gradients,
    make,
    noise,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.plugins.braincog import nodes
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES, Firing
from scmrl_plugins.plugins.neurons.upstream import node
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

OURS = [name for name in NAMES if SURROGATES[name].braincog is None]
FORMULAS: dict[str, Callable[[float, float], float]] = {
    "sigmoid": lambda u, a: a * math.exp(-abs(a * u)) / (1 + math.exp(-abs(a * u))) ** 2,
    "atan": lambda u, a: a / (2 + 2 * (math.pi * a * u / 2) ** 2),
    "gate": lambda u, a: float(abs(u) < 1 / a),
    "quadratic-gate": lambda u, a: a * max(0.0, 1 - abs(a * u)),
    "relu": lambda u, a: a * (u > 0),
    "triangle": lambda u, a: max(0.0, 1 - abs(a * u)),
    "fast-sigmoid": lambda u, a: 1 / (1 + a * abs(u)) ** 2,
    "gaussian": lambda u, a: a * math.exp(-((a * u) ** 2) / 2) / math.sqrt(2 * math.pi),
}
# The area under h' between -1000/alpha and 1000/alpha, and its height at u = 0, both from the formula by hand.
AREAS = {
    "sigmoid": lambda a: 1.0,
    "atan": lambda a: 2 / math.pi * math.atan(500 * math.pi),
    "gate": lambda a: 2 / a,
    "quadratic-gate": lambda a: 1.0,
    "triangle": lambda a: 1 / a,
    "fast-sigmoid": lambda a: 2 / a * (1 - 1 / 1001),
    "gaussian": lambda a: 1.0,
}
HEIGHTS = {
    "sigmoid": lambda a: a / 4,
    "atan": lambda a: a / 2,
    "gate": lambda a: 1.0,
    "quadratic-gate": lambda a: a,
    "triangle": lambda a: 1.0,
    "fast-sigmoid": lambda a: 1.0,
    "gaussian": lambda a: a / math.sqrt(2 * math.pi),
}


def derivative(name: str, u: Tensor, alpha: float) -> Tensor:
    return SURROGATES[name].backward(torch.ones_like(u), u.clone(), alpha)


def test_every_surrogate_is_in_the_tests_and_in_the_documentation() -> None:
    assert FORMULAS.keys() == SURROGATES.keys()
    assert AREAS.keys() == HEIGHTS.keys() == SURROGATES.keys() - {"relu"}  # whose area has no bound
    from scmrl_plugins.plugins.neurons import surrogates

    documented = {line.split("  ")[0]: line for line in surrogates.__doc__.splitlines() if "  " in line}
    for name, chosen in SURROGATES.items():
        assert f"  {int(chosen.tie)}  " in documented[name], name
    assert set(surrogates.SurrogateName.__args__) == SURROGATES.keys()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(u=st.floats(-5, 5), alpha=st.floats(0.1, 10), grad=st.floats(-3, 3))
def test_a_surrogate_is_its_formula(name: str, u: float, alpha: float, grad: float) -> None:
    given_u = torch.tensor([u], dtype=torch.float64)
    out = SURROGATES[name].backward(torch.tensor([grad], dtype=torch.float64), given_u, alpha)
    assert out.item() == pytest.approx(grad * FORMULAS[name](u, alpha), rel=1e-9, abs=1e-12)
    assert given_u.item() == u


@pytest.mark.parametrize("alpha", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("name", sorted(AREAS))
def test_area_height_and_symmetry(name: str, alpha: float) -> None:
    # Substituting u = tan(phi) / alpha puts the points where the mass is: du = (1 + tan^2) dphi / alpha.
    phi = torch.linspace(-math.atan(1000), math.atan(1000), 2_000_001, dtype=torch.float64)
    u = phi.tan() / alpha
    weights = (1 + phi.tan().square()) / alpha
    h = derivative(name, u, alpha)
    assert torch.trapezoid(h * weights, phi).item() == pytest.approx(AREAS[name](alpha), rel=1e-5)
    peak = derivative(name, torch.zeros(1, dtype=torch.float64), alpha).item()
    assert peak == pytest.approx(HEIGHTS[name](alpha), rel=1e-12)
    assert h.max().item() <= peak
    assert (h >= 0).all()
    torch.testing.assert_close(h, derivative(name, -u, alpha), atol=1e-15, rtol=1e-12)
    right = derivative(name, torch.linspace(0, 5, 501, dtype=torch.float64), alpha)
    assert (right.diff() <= 1e-15).all()


@pytest.mark.parametrize("name", OURS)
def test_a_surrogate_that_braincog_lacks_serves_its_nodes(name: str) -> None:
    module = SURROGATES[name].act_fun(alpha=3.0, requires_grad=True)
    assert isinstance(module, Firing)
    assert not module.alpha.requires_grad
    u = torch.linspace(-1, 1, 21, dtype=torch.float64, requires_grad=True)
    out = module(u)
    assert torch.equal(out, (u >= 0 if SURROGATES[name].tie else u > 0).double())
    out.sum().backward()
    torch.testing.assert_close(u.grad, derivative(name, u.detach(), 3.0))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("their_node", sorted(nodes.NODES))
def test_the_adapter_takes_every_surrogate_or_refuses_it(their_node: str, name: str) -> None:
    cls = getattr(nodes, their_node)
    try:
        layer = cls(cls.Config(surrogate=name))
    except UserError as error:
        assert "neuron.surrogate" in str(error)  # noqa: PT017  a node without one
        assert "act_fun" not in nodes._parameters(getattr(node, their_node)) or their_node == "LIAFNode"
        return
    assert isinstance(layer.node.act_fun, Firing)
    leaf = (noise(4, 2, 20) * 3).requires_grad_()
    layer(leaf).sum().backward()
    assert leaf.grad.isfinite().all()


def test_the_adapter_with_our_surrogate_is_the_fused_neuron() -> None:
    for cls, their_class in OF_BRAINCOG.items():
        adapter = getattr(nodes, their_class.__name__)
        shared: dict[str, Any] = {"surrogate": "gaussian", "alpha": 2.5, "threshold": 0.8}
        layer, neuron = make(adapter, **shared), make(cls, **shared)
        x = noise(5, 2, 30)
        ours, their = gradients(neuron, x, neuron), gradients(layer, x, layer)
        assert torch.equal(neuron(x), layer(x))
        torch.testing.assert_close(ours["x"], their["x"], atol=1e-6, rtol=1e-5)
