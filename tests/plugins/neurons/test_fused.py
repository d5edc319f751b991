"""The fused neurons against their step, plain autograd and BrainCog's nodes.

Spikes and membranes are compared to the bit: a neuron multiplies, adds and compares in a fixed order, and each of
these operations rounds alike on every processor and at every position in its vectors.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fused_neurons import (
    DTYPES,
    NAMES,
    NEURONS,
    OF_BRAINCOG,
    configurations,
    gradients,
    make,
    noise,
    sequences,
    stepped,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from scmrl_plugins.plugins.neurons.alif import ALIF
from scmrl_plugins.plugins.neurons.integrate_and_fire import IF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES
from scmrl_plugins.plugins.neurons.ternary import Ternary

pytestmark = pytest.mark.numerical


# The equations by hand, number by number.


def by_hand(cls: Any, neuron: Any, config: dict[str, Any], row: list[float]) -> tuple[list[float], list[float]]:
    """Spikes and membrane after the reset of one unit, in Python's own numbers."""
    threshold, tie = config["threshold"], SURROGATES[config["surrogate"]].tie
    v = rise = 0.0
    spikes, potential = [], []

    def fires(u: float) -> float:
        return float(u >= 0 if tie else u > 0)

    for x in row:
        if cls is IF:
            v = v + x
        elif cls is PLIF:
            v = v + (x - v) * neuron.w.sigmoid().item()
        else:
            v = v + (x - v) / config["tau"]
        s = fires(v - threshold - rise)
        if cls is Ternary:
            s -= fires(-v - threshold)
        if s:
            v = 0.0
        if cls is ALIF:
            rise = rise * math.exp(-1 / config["tau_adaptation"]) + config["beta"] * s
        spikes.append(s)
        potential.append(v)
    return spikes, potential


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_follows_the_equation(cls: Any, detach: bool, data: st.DataObject) -> None:
    x = data.draw(sequences())
    config = data.draw(configurations(cls)) | {"threshold": data.draw(st.sampled_from([0.25, 0.5, 1.0]))}
    neuron = make(cls, detach_membrane=detach, **config).double()
    neuron.requires_mem = True
    out = neuron(x).flatten(1).T
    membrane = torch.stack(neuron.mem_collect).flatten(1).T
    for row, spikes, potential in zip(x.flatten(1).T.tolist(), out.tolist(), membrane.tolist(), strict=True):
        assert (spikes, potential) == by_hand(cls, neuron, config, row)


# The fused path against the step, which is the unrolled path.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", NEURONS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_fused_equals_its_own_step_to_the_bit(cls: Any, dtype: torch.dtype, data: st.DataObject) -> None:
    x = data.draw(sequences(dtype))
    neuron = make(cls, **data.draw(configurations(cls))).to(dtype)
    neuron.requires_mem = True
    spikes, potential = stepped(neuron, x)
    out = neuron(x)
    assert out.dtype == dtype
    assert torch.equal(out, spikes)
    assert torch.equal(torch.stack(neuron.mem_collect), torch.stack(potential))
    assert torch.equal(make(cls, detach_membrane=False, **neuron_config(neuron)).to(dtype)(x), spikes)


def neuron_config(neuron: Any) -> dict[str, Any]:
    """The settings again, from what the neuron says of itself."""
    pairs = dict(part.split("=") for part in neuron.extra_repr().split(", "))
    del pairs["detach_membrane"]
    return {key: value if key == "surrogate" else float(value) for key, value in pairs.items()}


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_gradients_are_those_of_plain_autograd(cls: Any, detach: bool, data: st.DataObject) -> None:
    # Values that are no multiples of anything keep u off the kinks of the surrogates.
    x = data.draw(sequences()) + 1e-3 * math.pi
    neuron = make(cls, detach_membrane=detach, **data.draw(configurations(cls))).double()
    ours = gradients(neuron, x, neuron)
    theirs = gradients(neuron, x, lambda leaf: stepped(neuron, leaf, detach)[0])
    assert ours.keys() == theirs.keys() == ({"x", "w"} if cls is PLIF else {"x"})
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], atol=1e-12, rtol=1e-10, msg=name)


@pytest.mark.parametrize("cls", NEURONS)
def test_gradients_cross_time_only_where_the_membrane_is_not_detached(cls: Any) -> None:
    x = torch.full((4, 1, 3), 0.2, dtype=torch.float64, requires_grad=True)
    for detach in (True, False):
        spikes = make(cls, detach_membrane=detach).double()(x)
        (grad,) = torch.autograd.grad(spikes[3].sum(), x)
        assert grad[3].abs().sum() > 0
        assert (torch.count_nonzero(grad[:3]) == 0) == detach


@pytest.mark.parametrize("cls", NEURONS)
def test_gradients_through_time_are_finite_differences_where_nothing_fires(cls: Any) -> None:
    """A surrogate as good as 1 everywhere makes the gradient of the spikes that of the membrane."""
    x = noise(5, 2, 3, dtype=torch.float64) * 0.1
    flat: dict[str, Any] = {"threshold": 100.0, "surrogate": "triangle", "alpha": 1e-9}
    if cls is ALIF:
        flat["beta"] = 0.0  # else the spikes' gradient also goes through the threshold
    neuron = make(cls, detach_membrane=False, **flat).double()
    leaf = x.clone().requires_grad_()
    neuron(leaf).sum().backward()
    sides = 2 if cls is Ternary else 1

    def membranes() -> float:
        return float(torch.stack(stepped(neuron, x)[1]).sum().detach())

    learned = [(neuron.w, ())] if cls is PLIF else []
    with torch.no_grad():
        for tensor, place in [(x, (0, 0, 0)), (x, (2, 1, 1)), (x, (4, 1, 2)), *learned]:
            kept, ends = tensor[place].item(), []
            for h in (1e-6, -1e-6):
                tensor[place] = kept + h
                ends.append(membranes())
            tensor[place] = kept
            grad = leaf.grad[place] if tensor is x else tensor.grad
            assert grad.item() == pytest.approx(sides * (ends[0] - ends[1]) / 2e-6, rel=1e-5)


# BrainCog's nodes.


def theirs(neuron: Any, config: dict[str, Any], detach: bool, dtype: torch.dtype) -> Any:
    keywords = {key: config[key] for key in ("threshold", "tau") if key in config}
    act_fun = SURROGATES[config["surrogate"]].act_fun
    made = OF_BRAINCOG[type(neuron)](act_fun=act_fun, mem_detach=detach, **keywords).to(dtype)
    made.act_fun.alpha.requires_grad_(False).fill_(config["alpha"])
    return made


def over_time(their_node: Any, x: Tensor) -> Tensor:
    their_node.n_reset()
    return torch.stack([their_node(current).to(x.dtype) for current in x])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", sorted(OF_BRAINCOG, key=str))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_spikes_are_braincogs_to_the_bit(cls: Any, detach: bool, dtype: torch.dtype, data: st.DataObject) -> None:
    x = data.draw(sequences(dtype))
    config = data.draw(configurations(cls))
    neuron = make(cls, detach_membrane=detach, **config).to(dtype)
    their_node = theirs(neuron, config, detach, dtype)
    their_node.requires_mem = neuron.requires_mem = True
    assert isinstance(neuron, OF_BRAINCOG[cls])
    assert torch.equal(neuron(x), over_time(their_node, x))
    assert torch.equal(torch.stack(neuron.mem_collect), torch.stack(their_node.mem_collect))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", sorted(OF_BRAINCOG, key=str))
def test_gradients_are_braincogs(cls: Any, name: str, detach: bool, dtype: torch.dtype) -> None:
    """To rounding, the factors being in another order; to the bit for ``if`` where they are powers of two."""
    config: dict[str, Any] = {"threshold": 0.75, "surrogate": name, "alpha": 1.7}
    if cls is not IF:
        config["tau"] = 1.6
    # BrainCog's atan and gates put out float32, and so round the gradient that comes back: one that is exact.
    x = noise(6, 3, 4, 5, dtype=torch.float32).to(dtype)
    weight = torch.randint(-4, 5, x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for alpha in (1.7, 2.0):
        config["alpha"] = alpha
        neuron = make(cls, detach_membrane=detach, **config).to(dtype)
        their_node = theirs(neuron, config, detach, dtype)
        ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
        ours, expected = neuron(ours_x), over_time(their_node, theirs_x)
        assert torch.equal(ours, expected)
        assert 0.05 < ours.mean() < 0.95
        (ours * weight).sum().backward()
        (expected * weight).sum().backward()
        # The slope is a float32 in BrainCog, whatever the module is in, unless converted: 1.7 is rounded there.
        tolerance = 1e-5 if dtype == torch.float32 else (1e-6 if alpha == 1.7 else 1e-12)
        torch.testing.assert_close(ours_x.grad, theirs_x.grad, atol=tolerance, rtol=tolerance)
        assert ours_x.grad.abs().sum() > 0
        if cls is PLIF:
            torch.testing.assert_close(neuron.w.grad, their_node.w.grad, atol=tolerance, rtol=1e-4)
            assert neuron.w.grad != 0
        if cls is IF and alpha == 2.0 and name in ("gate", "quadratic-gate", "relu"):
            assert torch.equal(ours_x.grad, theirs_x.grad)


def test_state_dicts_are_exchanged_with_braincog() -> None:
    for cls, their_class in OF_BRAINCOG.items():
        neuron, their_node = make(cls), their_class()
        assert neuron.state_dict().keys() == their_node.state_dict().keys()
        their_node.load_state_dict(make(cls, threshold=0.3).state_dict())
        assert their_node.threshold.item() == pytest.approx(0.3)


@pytest.mark.parametrize("cls", NEURONS)
def test_braincogs_setters_reach_the_fused_path(cls: Any) -> None:
    x = noise(5, 2, 40)
    neuron = make(cls)
    neuron.set_n_threshold(0.3)
    assert torch.equal(neuron(x), make(cls, threshold=0.3)(x))
    if cls in (LIF, ALIF, Ternary):
        neuron.set_n_tau(4.0)
        assert torch.equal(neuron(x), make(cls, threshold=0.3, tau=4.0)(x))
        leaf, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
        neuron(leaf).sum().backward()
        make(cls, threshold=0.3, tau=4.0)(plain).sum().backward()
        torch.testing.assert_close(leaf.grad, plain.grad)


# What holds of every fused neuron.


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_past_alone_counts_and_the_state_links_the_halves(cls: Any, detach: bool, data: st.DataObject) -> None:
    x = data.draw(sequences())
    neuron = make(cls, detach_membrane=detach, **data.draw(configurations(cls))).double()
    whole = neuron(x)
    cut = x.shape[0] // 2
    state = None
    if cut:
        assert torch.equal(neuron(x[:cut]), whole[:cut])
        for current in x[:cut]:
            _, state = neuron.single_step(current, state)
    for t, current in enumerate(x[cut:]):
        s, state = neuron.single_step(current, state)
        assert torch.equal(s, whole[cut + t])
    assert torch.equal(neuron(x), whole)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
def test_one_step(cls: Any, detach: bool) -> None:
    x = noise(1, 2, 3, 4)
    neuron = make(cls, detach_membrane=detach, threshold=0.5)
    leaf = x.clone().requires_grad_()
    out = neuron(leaf)
    assert torch.equal(out[0], neuron.single_step(x[0])[0])
    assert torch.equal(out, make(cls, detach_membrane=not detach, threshold=0.5)(x))
    out.sum().backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(("cls", "current"), [(IF, 1.0), (LIF, 2.0), (PLIF, 2.0), (ALIF, 2.0), (Ternary, 2.0)])
def test_a_tie_fires_by_the_rule_of_the_surrogate(cls: Any, current: float) -> None:
    for name, chosen in SURROGATES.items():
        for detach in (True, False):
            neuron = make(cls, surrogate=name, detach_membrane=detach)
            assert neuron(torch.full((1, 1, 1), current)).item() == float(chosen.tie)
            if cls is Ternary:
                assert neuron(torch.full((1, 1, 1), -current)).item() == -float(chosen.tie)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
def test_large_inputs_stay_finite(cls: Any, detach: bool, name: str) -> None:
    x = torch.tensor([1e30, -1e30, 1e20, -3.0, 0.0, 1e-30, 1e5])
    leaf = torch.stack([x, x.flip(0), -x]).unsqueeze(1).requires_grad_()
    neuron = make(cls, detach_membrane=detach, surrogate=name)
    out = neuron(leaf)
    out.sum().backward()
    assert out.isfinite().all()
    assert leaf.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in neuron.parameters() if p.grad is not None)


@pytest.mark.parametrize("cls", NEURONS)
def test_an_infinite_input_fires_and_is_forgotten(cls: Any) -> None:
    """As sums in half precision can be: BrainCog's reset gives inf * 0, and the neuron would be lost."""
    x = noise(4, 1, 6, seed=3)
    x[0] = math.inf
    after = x.clone()
    after[0] = 1e30
    out = make(cls)(x)
    assert (out[0] == 1).all()
    assert torch.equal(out, make(cls)(after))
    if cls is Ternary:
        assert torch.equal(make(cls)(-x), -out)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
def test_half_precision_keeps_its_type(cls: Any, detach: bool, dtype: torch.dtype) -> None:
    x = noise(4, 3, 50).to(dtype)
    neuron = make(cls, detach_membrane=detach, threshold=0.3)
    leaf = x.clone().requires_grad_()
    out = neuron(leaf)
    out.sum().backward()
    assert out.dtype == leaf.grad.dtype == dtype
    assert torch.equal(out, stepped(neuron, x)[0])
    if cls is PLIF:
        assert neuron.w.grad.dtype == torch.float32
        assert neuron.w.grad != 0


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("cls", NEURONS)
def test_takes_views_as_they_are(cls: Any, detach: bool) -> None:
    base = noise(3, 4, 5, seed=4)
    views: dict[str, Callable[[Tensor], Tensor]] = {
        "transposed": lambda x: x.permute(2, 0, 1),
        "expanded": lambda x: x.expand(6, 3, 4, 5),
        "strided": lambda x: x[:, ::2],
    }
    neuron = make(cls, detach_membrane=detach)
    for name, view in views.items():
        leaf = base.clone().requires_grad_()
        plain = view(base).clone(memory_format=torch.contiguous_format).requires_grad_()
        kept = base.clone()
        out, expected = neuron(view(leaf)), neuron(plain)
        assert torch.equal(out, expected), name
        weight = noise(*out.shape, seed=5)
        (out * weight).sum().backward()
        (expected * weight).sum().backward()
        probe = base.clone().requires_grad_()
        view(probe).backward(plain.grad)
        torch.testing.assert_close(leaf.grad, probe.grad, msg=name)
        assert torch.equal(base, kept)


@pytest.mark.parametrize("cls", NEURONS)
def test_backward_twice_through_one_graph(cls: Any) -> None:
    leaf = noise(4, 2, 6).requires_grad_()
    neuron = make(cls)
    total = neuron(leaf).sum()
    wanted = [leaf, *[p for p in neuron.parameters() if p.requires_grad]]
    first = torch.autograd.grad(total, wanted, retain_graph=True)
    for once, again in zip(first, torch.autograd.grad(total, wanted), strict=True):
        assert torch.equal(once, again)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", NEURONS)
def test_copies_pickles_and_says_its_settings(cls: Any, name: str) -> None:
    neuron = make(cls, surrogate=name, threshold=0.6, alpha=3.0)
    x = noise(4, 2, 30)
    for other in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert torch.equal(other(x), neuron(x))
    assert f"surrogate={name}" in repr(neuron)
    assert float(neuron.act_fun.alpha) == 3.0
    assert [p for p in neuron.parameters() if p.requires_grad] == ([neuron.w] if cls is PLIF else [])
    assert torch.equal(neuron.act_fun(x), (x >= 0 if SURROGATES[name].tie else x > 0).float())


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (IF, {"tau": 2.0}),
        (PLIF, {"tau": 1.0}),
        (ALIF, {"beta": -0.1}),
        (ALIF, {"tau_adaptation": 0.0}),
        (Ternary, {"threshold": 0.0}),
        *((cls, {"surrogate": "print(1)"}) for cls in NEURONS),
        *((cls, {"alpha": 0.0}) for cls in NEURONS),
    ],
)
def test_settings_out_of_range_are_refused(cls: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**wrong)
