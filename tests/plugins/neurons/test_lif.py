"""The multi-step LIF against its equation, and against BrainCog's LIFNode stepped one time step at a time.

Spikes and membranes are compared to the bit: a neuron multiplies, adds and compares in a fixed order, and each of
these operations rounds alike on every processor and at every position in its vectors.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from scmrl_plugins.plugins.neurons import surrogates
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.upstream import node, surrogate

pytestmark = pytest.mark.numerical

SURROGATES = {name: chosen for name, chosen in surrogates.SURROGATES.items() if chosen.braincog}

TIES = [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0]


def lif(**config: Any) -> LIF:
    return LIF(LIF.Config(**config))


def by_hand(x: Tensor, tau: float, threshold: float, tie: bool) -> tuple[list[list[float]], list[list[float]]]:
    """Spikes and membrane after the reset, number by number, for ``x [T, M]``."""
    spikes, potential = [], []
    v = [0.0] * x.shape[1]
    for row in x.tolist():
        fired = []
        for i, current in enumerate(row):
            v[i] = v[i] + (current - v[i]) / tau
            above = v[i] - threshold >= 0 if tie else v[i] - threshold > 0
            fired.append(float(above))
            v[i] = 0.0 if above else v[i]
        spikes.append(fired)
        potential.append(list(v))
    return spikes, potential


def stepped(x: Tensor, detach: bool, name: str, alpha: float, tau: float, threshold: float) -> Tensor:
    """BrainCog's own node, one time step at a time."""
    theirs = node.LIFNode(
        threshold=threshold, tau=tau, act_fun=getattr(surrogate, SURROGATES[name].braincog), mem_detach=detach
    ).to(x.dtype)
    theirs.act_fun.alpha.data.fill_(alpha)
    theirs.n_reset()
    return torch.stack([theirs(current) for current in x])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_spikes_and_membrane_follow_the_equation(data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 6))
    width = data.draw(st.integers(1, 5))
    values = st.sampled_from(TIES) | st.floats(-4, 4)
    rows = data.draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=steps, max_size=steps))
    tau = data.draw(st.sampled_from([1.0, 1.5, 2.0, 4.0]))
    threshold = data.draw(st.sampled_from([0.25, 0.5, 1.0]))
    name = data.draw(st.sampled_from(sorted(SURROGATES)))
    x = torch.tensor(rows, dtype=torch.float64)

    neuron = lif(tau=tau, threshold=threshold, surrogate=name).double()
    neuron.requires_mem = True
    out = neuron(x.view(steps, 1, width))

    spikes, potential = by_hand(x, tau, threshold, SURROGATES[name].tie)
    assert out.view(steps, width).tolist() == spikes
    assert torch.stack(neuron.mem_collect).view(steps, width).tolist() == potential


def test_a_tie_fires_with_the_published_surrogate_only_where_the_step_at_zero_is_one() -> None:
    x = torch.full((1, 1, 1), 2.0)  # v = 0 + (2 - 0) / 2 = 1, the threshold exactly
    fires = {name: lif(surrogate=name)(x).item() == 1 for name in SURROGATES}
    assert fires == {"sigmoid": True, "relu": True, "atan": False, "gate": False, "quadratic-gate": False}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_agrees_with_braincog_stepped(name: str, detach: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(6, 3, 4, 5, generator=generator, dtype=dtype) * 2 + 0.7
    x[:, 0, 0] = torch.tensor(TIES[:5], dtype=dtype)
    # BrainCog's atan and gates put out float32, and so round the gradient that comes back.
    weight = torch.randn(x.shape, generator=generator).to(dtype)
    settings_ = {"alpha": 1.75, "tau": 1.6, "threshold": 0.75}
    ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()

    ours = lif(surrogate=name, detach_membrane=detach, **settings_).to(dtype)(ours_x)
    theirs = stepped(theirs_x, detach, name, **settings_)

    assert ours.dtype == dtype
    assert torch.equal(ours, theirs.to(dtype))
    assert 0.05 < ours.mean() < 0.95
    (ours * weight).sum().backward()
    (theirs.to(dtype) * weight).sum().backward()
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours_x.grad, theirs_x.grad, atol=tolerance, rtol=tolerance)
    assert ours_x.grad.abs().sum() > 0


PRIMITIVES = {
    "sigmoid": lambda u, a: torch.sigmoid(a * u),
    "atan": lambda u, a: torch.atan(torch.pi / 2 * a * u) / torch.pi,
    "gate": lambda u, a: u.clamp(-1 / a, 1 / a),
    "quadratic-gate": lambda u, a: torch.where(u.abs() < 1 / a, a * u - a * a * u.abs() * u / 2, u.sign() / 2),
    "relu": lambda u, a: a * u.clamp_min(0),
}


def test_every_surrogate_has_its_primitive_here() -> None:
    assert PRIMITIVES.keys() == SURROGATES.keys()


@pytest.mark.parametrize("alpha", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_surrogate_is_the_derivative_of_its_primitive(name: str, alpha: float) -> None:
    u = torch.linspace(-3, 3, 301, dtype=torch.float64) + 1e-3  # no point on a kink
    h = 1e-6
    primitive = PRIMITIVES[name]
    numerical = (primitive(u + h, alpha) - primitive(u - h, alpha)) / (2 * h)
    grad = torch.full_like(u, -1.5)
    torch.testing.assert_close(
        SURROGATES[name].backward(grad, u.clone(), alpha), grad * numerical, atol=1e-7, rtol=1e-7
    )


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_no_gradient_crosses_time_when_the_membrane_is_detached(name: str) -> None:
    x = (torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0)) + 1).requires_grad_()
    spikes = lif(surrogate=name)(x)
    for t in range(5):
        (grad,) = torch.autograd.grad(spikes[t].sum(), x, retain_graph=True)
        assert grad[t].abs().sum() > 0
        grad[t] = 0
        assert torch.count_nonzero(grad) == 0


def test_gradient_crosses_time_when_the_membrane_is_not_detached() -> None:
    x = torch.full((3, 1, 1), 0.5, requires_grad=True)  # stays below the threshold: nothing is reset
    spikes = lif(detach_membrane=False)(x)
    (grad,) = torch.autograd.grad(spikes[2].sum(), x)
    assert (grad > 0).all()
    # dv[2]/dx[t] = (1/2) (1/2)^(2 - t): each step back halves it.
    assert (grad[2] / grad[1]).item() == pytest.approx(2)
    assert (grad[1] / grad[0]).item() == pytest.approx(2)


@pytest.mark.parametrize("detach", [True, False])
def test_no_state_is_left_between_calls(detach: bool) -> None:
    neuron = lif(detach_membrane=detach)
    x = torch.full((3, 2, 4), 1.5)
    first = neuron(x)
    neuron(torch.randn(5, 7, 2, 2) * 9)
    assert torch.equal(neuron(x), first)


@pytest.mark.parametrize("detach", [True, False])
def test_braincogs_recordings_exist_on_request(detach: bool) -> None:
    neuron = lif(detach_membrane=detach)
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1)) + 1
    neuron(x)
    assert neuron.feature_map == []
    assert neuron.mem_collect == []
    neuron.requires_fp = neuron.requires_mem = True
    out = neuron(x)
    assert torch.equal(torch.stack(neuron.feature_map), out)
    assert len(neuron.mem_collect) == 4
    assert (torch.stack(neuron.mem_collect)[out == 1] == 0).all()
    neuron.requires_fp = neuron.requires_mem = False
    neuron(x)
    assert neuron.feature_map == []
    assert neuron.mem_collect == []


def test_asking_for_the_membrane_changes_neither_spikes_nor_gradient() -> None:
    x = torch.randn(4, 2, 3) + 1
    results = []
    for keep in (False, True):
        neuron, given_x = lif(), x.clone().requires_grad_()
        neuron.requires_mem = keep
        out = neuron(given_x)
        out.sum().backward()
        results.append((out.detach(), given_x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_is_a_node_of_braincogs() -> None:
    assert isinstance(lif(), node.BaseNode)
    assert isinstance(lif(), node.LIFNode)


def test_state_dict_round_trip_and_deepcopy() -> None:
    neuron = lif(threshold=0.6, alpha=3.0)
    other = lif()
    x = torch.randn(4, 2, 50, generator=torch.Generator().manual_seed(2)) * 2
    assert not torch.equal(neuron(x), other(x))
    other.load_state_dict(neuron.state_dict())
    assert torch.equal(neuron(x), other(x))
    assert torch.equal(copy.deepcopy(neuron)(x), neuron(x))


@pytest.mark.parametrize("detach", [True, False])
def test_takes_views_as_they_are(detach: bool) -> None:
    base = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(4)) + 1
    views = {
        "transposed": lambda x: x.permute(2, 0, 1),
        "expanded": lambda x: x.expand(6, 3, 4, 5),
        "strided": lambda x: x[:, ::2],
    }
    for name, view in views.items():
        leaf = base.clone().requires_grad_()
        plain = view(base).clone(memory_format=torch.contiguous_format).requires_grad_()
        out, expected = lif(detach_membrane=detach)(view(leaf)), lif(detach_membrane=detach)(plain)
        assert torch.equal(out, expected), name
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
        (out * weight).sum().backward()
        (expected * weight).sum().backward()
        probe = base.clone().requires_grad_()
        view(probe).backward(plain.grad)
        torch.testing.assert_close(leaf.grad, probe.grad, msg=name)


def test_input_is_left_as_it_was() -> None:
    x = torch.randn(3, 2, 4) + 1
    kept = x.clone()
    lif()(x)
    assert torch.equal(x, kept)


def test_without_gradient_the_spikes_are_the_same() -> None:
    x = torch.randn(4, 3, 6) + 1
    with_gradient = lif()(x.clone().requires_grad_())
    with torch.no_grad():
        assert torch.equal(lif()(x), with_gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type(dtype: torch.dtype) -> None:
    x = torch.tensor([[[2.0, 0.5]], [[0.5, 3.0]]], dtype=dtype, requires_grad=True)
    out = lif()(x)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == dtype
    assert out.tolist() == [[[1.0, 0.0]], [[0.0, 1.0]]]


@pytest.mark.parametrize(
    "wrong", [{"tau": 0.5}, {"alpha": 0.0}, {"surrogate": "print(1)"}, {"threshold": "1"}, {"taus": 2.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LIF.Config(**wrong)
