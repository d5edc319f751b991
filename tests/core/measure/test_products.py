"""Products counted connection by connection, against loops over all connections."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.measure.products import (
    Convolution,
    Setting,
    convolution,
    factors,
    of_activations,
    weighted,
)

VALUES = (0.0, 0.0, 1.0, 1.0, 2.0, -1.0, 3.0, 0.5, -1.5)


def drawn(shape: tuple[int, ...], seed: int, values: tuple[float, ...] = VALUES) -> Tensor:
    index = torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))
    return torch.tensor(values)[index]


def one(a: float, b: float) -> tuple[int, int, int]:
    """Effective, MACs and ACs of a connection between two activations."""
    if a == 0 or b == 0:
        return 0, 0, 0
    integers = [abs(x) for x in (a, b) if x == int(x)]
    return (1, 0, int(min(integers))) if integers else (1, 1, 0)


def of_weight(x: float, w: float) -> tuple[int, int, int]:
    """The same with a weight, which is graded."""
    if x == 0 or w == 0:
        return 0, 0, 0
    return (1, 0, int(abs(x))) if x == int(x) else (1, 1, 0)


def summed(found: list[tuple[int, int, int]]) -> dict[str, int]:
    effective, macs, acs = (sum(column) for column in zip(*found, strict=True))
    return {"dense": len(found), "effective": effective, "macs": macs, "acs": acs}


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_a_product_of_activations_is_the_sum_over_its_pairs(n: int, k: int, m: int, seed: int) -> None:
    a, b = drawn((2, n, k), seed), drawn((2, k, m), seed + 1)
    pairs = [
        one(float(a[z, i, j]), float(b[z, j, c]))
        for z, i, j, c in itertools.product(range(2), range(n), range(k), range(m))
    ]
    found = of_activations(a, b, Setting(1, 1))
    assert summed(pairs).items() <= found.items()
    assert found["attention"] == found["effective"]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_a_linear_layer_is_the_sum_over_its_connections(rows: int, k: int, m: int, seed: int) -> None:
    x, w = drawn((rows, k), seed), drawn((k, m), seed + 1, (0.0, 0.5, 1.0, -2.0))
    connections = [
        of_weight(float(x[i, j]), float(w[j, c])) for i, j, c in itertools.product(range(rows), range(k), range(m))
    ]
    assert summed(connections).items() <= weighted(x, w, Setting(1, 1)).items()


CONVOLUTIONS = {
    "padded": Convolution((1, 1), (1, 1), (1, 1), False, (0, 0), 1),
    "strided": Convolution((2, 3), (1, 0), (1, 1), False, (0, 0), 1),
    "dilated": Convolution((1, 1), (2, 2), (2, 1), False, (0, 0), 1),
    "grouped": Convolution((1, 1), (1, 1), (1, 1), False, (0, 0), 2),
    "transposed": Convolution((2, 2), (1, 1), (1, 1), True, (1, 1), 2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("pruned", [False, True])
def test_a_convolution_is_the_sum_over_its_connections(name: str, pruned: bool) -> None:
    """Each input value meets a weight where the output has a gradient to that weight through it."""
    how = CONVOLUTIONS[name]
    x = drawn((2, 4, 5, 6), 1)
    w = torch.ones(4, 6 // how.groups if how.transposed else 4 // how.groups, 3, 3)
    w = w if not pruned else w * (drawn(tuple(w.shape), 2) != 0)
    shape = (how.stride, how.padding, how.dilation, how.transposed, how.output_padding, how.groups)

    def applied(values: Tensor, weight: Tensor) -> float:
        return float(torch.convolution(values, weight, None, *shape).sum())

    graded, whole = (x != x.round()).float(), x.abs() * (x == x.round())
    out = torch.convolution(x, w, None, *shape)
    found = convolution(x, w, out, how, Setting(2, 1))
    assert found["dense"] == applied(torch.ones_like(x), torch.ones_like(w))
    assert found["effective"] == applied((x != 0).float(), w)
    assert (found["macs"], found["acs"]) == (applied(graded, w), applied(whole, w))


def test_a_graded_value_changes_its_own_connections_only() -> None:
    """In a batch of spikes, one value of 0.5 makes multiply-accumulates of its three connections."""
    x, w = torch.ones(4, 5), torch.full((5, 3), 0.1)
    x[2, 1] = 0.5
    found = weighted(x, w, Setting(4, 1))
    assert (found["macs"], found["acs"]) == (3, 4 * 5 * 3 - 3)
    x[2, 1] = 2.0  # a residual sum of two spikes is two accumulates
    found = weighted(x, w, Setting(4, 1))
    assert (found["macs"], found["acs"], found["effective"]) == (0, 4 * 5 * 3 + 3, 4 * 5 * 3)


def test_values_beyond_the_integers_of_single_precision_are_graded() -> None:
    found = factors(torch.tensor([3.0, 2.0**24, float("inf"), float("nan"), -0.0]))
    assert found.whole is not None
    assert found.graded is not None
    assert found.whole.tolist() == [3, 0, 0, 0, 0]
    assert found.graded.tolist() == [0, 1, 1, 1, 0]


def test_a_pointwise_convolution_is_a_linear_layer_of_each_pixel() -> None:
    x, w = drawn((4, 3, 6), 0), torch.randn(5, 3, 1)
    how = Convolution((1,), (0,), (1,), False, (0,), 1)
    setting = Setting(2, 2)
    rows = x.movedim(1, -1).flatten(0, 1)
    assert convolution(x, w, F.conv1d(x, w), how, setting) == weighted(rows, w[..., 0].mT, setting)


def test_traffic_of_a_spiking_layer_by_hand() -> None:
    """Lemaire et al.: two steps of a 3 x 3 convolution of stride 2 from 2 x 5 x 5 to 4 x 3 x 3, and of 6 to 4."""
    spikes = torch.zeros(2, 2, 5, 5)
    spikes[0, 0, 1, 1] = spikes[1, 1, 4, 4] = spikes[1, 0, 0, 0] = 1
    how = Convolution((2, 2), (1, 1), (1, 1), False, (0, 0), 1)
    w = torch.full((4, 2, 3, 3), 0.5)
    found = convolution(spikes, w, torch.convolution(spikes, w, None, *vars(how).values()), how, Setting(1, 2))
    events, taps, outputs = 3, 3 * 4 * 9, 2 * 4 * 9
    assert found["adds"] == events * 2 * 2 * 4 + outputs + taps + 2 * events
    assert found["muls"] == 2 * events
    assert found["accesses"] == events + taps + outputs + 2 * taps  # inputs, weights, biases, potentials
    assert found["words"] == taps * w.numel() + outputs * 4 + 2 * taps * (4 * 9)
    assert found["activation_words"] == 0

    x = torch.tensor([[1.0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]])
    found = weighted(x, torch.full((6, 4), 0.5), Setting(1, 2))
    assert found["adds"] == 3 * 4 + 2 * 4 + 3 * 4
    assert found["muls"] == 0
    assert found["accesses"] == 3 + 3 * 4 + 2 * 4 + 2 * 3 * 4
    assert found["words"] == 12 * 24 + 8 * 4 + 24 * 4


def test_traffic_of_a_dense_layer_by_hand() -> None:
    """The formal network of the same paper: every factor counts, and outputs are written."""
    x, w = torch.zeros(1, 2, 5, 5), torch.ones(4, 2, 3, 3)
    how = Convolution((1, 1), (0, 0), (1, 1), False, (0, 0), 1)
    out = torch.convolution(x, w, None, *vars(how).values())
    found = convolution(x, w, out, how, Setting(1, 1, membrane=False, dense=True))
    macs, outputs = 9 * 9 * 2 * 4, 4 * 9
    assert found["macs"] == found["dense"] == found["muls"] == macs
    assert found["adds"] == macs + outputs + (2 * 25 + 4 * 9 + 4 * 9)
    assert found["accesses"] == 2 * macs + 2 * outputs
    assert found["words"] == macs * w.numel() + outputs * 4
    assert found["activation_words"] == macs * 50 + outputs * 36
