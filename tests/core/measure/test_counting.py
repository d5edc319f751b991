"""What a model costs, by hand, by layer and in all; the same for any batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core.measure import counting, energy, operations
from scmrl_plugins.core.measure.counting import Layer, count, count_batches, total
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.plugins.neurons.integrate_and_fire import IF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.relu import ReLU

Small = Callable[..., Assembly]
AMOUNTS = [name for name in vars(Layer("")) if name != "name"]


def images(model: AudioVisualModel, batch: int) -> dict[str, Tensor]:
    found = operations.random_inputs(model, torch.device("cpu"), batch=batch)
    return {name: x * torch.linspace(0.5, 3, batch).view(-1, 1, 1, 1) for name, x in found.items()}


def named(layers: list[Layer]) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers}


def test_a_late_model_by_hand(small: Small) -> None:
    """One convolution a modality sees the image, once for all steps; all others see spikes."""
    model = small(fusion={"name": "late"}, neuron={"threshold": 0.3}).model.eval()
    given = images(model, 3)
    acs: dict[str, float] = {}

    def of(name: str) -> Callable[..., None]:
        def note(module: Any, args: tuple[Tensor]) -> None:
            whole = module._conv_forward(args[0].abs(), torch.ones_like(module.weight), None)
            acs[name] = whole.double().sum().item() / 3

        return note

    handles = [
        module.register_forward_pre_hook(of(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv1d) and not name.endswith("stages.0.conv")
    ]
    with torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    layers = count_batches(model, [given])
    found = named(layers)
    assert sum(acs.values()) > 0
    for name, expected in acs.items():
        assert (found[name].macs, found[name].acs) == (0, pytest.approx(expected, rel=1e-6)), name
    inside = 64 * 9 - 4 * 8 * 3 + 4  # of 8 x 8 pixels with 3 x 3 weights each, those that meet no padding
    for name, channels in model.channels.items():
        first = found[f"backbones.{name}.patches.stages.0.conv"]
        assert first.dense == first.macs == inside * channels * 4
    head = found["readout.head"]
    assert head.dense == model.readout.head.weight.numel() * model.config.model.steps
    assert head.macs + head.acs > 0  # means, some of which are 0 or 1


def test_layers_add_up_and_every_parameter_belongs_to_one(small: Small) -> None:
    model = small(sets=["neuron.threshold=0.02"]).model
    layers = count_batches(model, [images(model, 4)])
    added = total(layers)
    for name in AMOUNTS:
        assert vars(added)[name] == sum(vars(layer)[name] for layer in layers), name
    assert added.parameters == operations.count_parameters(model)
    held = [*model.parameters(), *model.buffers()]
    assert added.footprint == sum(x.numel() * x.element_size() for x in held)
    assert added.effective >= added.macs
    assert added.attention > 0


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["lif", "ternary", "relu"])
def test_the_mean_is_the_same_for_batches_of_any_size_and_order(small: Small, neuron: str) -> None:
    model = small(fusion={"name": "cmrl", "attention": "spatial"}, neuron={"name": neuron}).model
    every = images(model, 6)

    def of(*batches: list[int]) -> list[Layer]:
        return count_batches(model, [{name: x[index] for name, x in every.items()} for index in batches])

    together = of([0, 1, 2, 3, 4, 5])
    assert of([5, 3], [1], [0, 4, 2]) == together
    assert of([0]) != together


def test_an_integrate_and_fire_neuron_does_not_leak() -> None:
    x = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)) * 2
    found = {}
    for cls in (LIF, IF, ReLU):
        layers = _counted(nn.Sequential(cls(cls.Config())), x, cls, steps=3)
        found[cls] = next(layer for layer in layers if layer.name == "net.0")
    assert found[LIF].membrane_updates == found[IF].membrane_updates == 3 * 5
    assert (found[LIF].muls, found[IF].muls) == (15, 0)
    assert found[IF].adds == found[IF].active  # resets
    assert found[LIF].adds == 15 + found[LIF].active
    assert found[LIF].words == 2 * 15 * 5
    assert (found[ReLU].membrane_updates, found[ReLU].accesses) == (0, 0)


def _counted(net: nn.Module, x: Tensor, neuron: Any, steps: int = 1) -> list[Layer]:
    """The costs of a net on ``[T, B, *]``, or on ``[B, *]`` for one step."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.transpose(0, 1) if steps > 1 else x)

    return count(Wrapped(), [{"x": x.transpose(0, 1) if steps > 1 else x}], neuron=neuron, steps=steps)


def test_weights_are_known_wherever_they_are_multiplied() -> None:
    """On the left, reshaped, cast, normalised or expanded; never mistaken for attention."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((4, 3), 0.5))
            self.table = torch.full((3, 4), 0.5)

        def forward(self, x: Tensor) -> Tensor:
            y = (self.weight @ x.mT).mT  # on the left
            y = y + F.linear(x, F.normalize(self.weight, dim=1))
            y = y + (x.double() @ self.weight.double().mT).float()
            y = y + x @ self.table
            return y + torch.bmm(x[:, None], self.weight.mT.expand(len(x), 3, 4))[:, 0]

    x = torch.tensor([[1.0, 0, 0.5], [0, 0, 2]])
    layers = count(Odd(), [{"x": x}], neuron=LIF, steps=1)
    found = total(layers)
    assert found.attention == 0
    assert (found.macs * 2, found.acs * 2) == (5 * 4, 5 * 3 * 4)
    assert total(layers).dense * 2 == 5 * 2 * 3 * 4


def test_a_state_that_is_written_in_place_is_no_weight() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.state = nn.Parameter(torch.full((4, 3), 0.5)), torch.zeros(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.state.zero_().add_(x), self.weight)

    x = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    found = total(count(Stateful(), [{"x": x}, {"x": x}], neuron=LIF, steps=1))
    assert (found.acs * 2, found.attention) == (3 * 4, 0)


def test_weights_cast_by_autocast_are_weights(small: Small) -> None:
    model = small(fusion={"name": "late"}).model
    with torch.autocast("cpu", torch.bfloat16):
        found = total(count_batches(model, [images(model, 2)]))
    assert found.attention == 0
    assert found.acs > 0


def test_a_small_attention_by_hand() -> None:
    """Two heads, two steps, three tokens: q k^T, then the scores times v, and the projections before."""
    q = torch.zeros(1, 2, 2, 3, 2)  # [B, T, heads, N, d]
    k, v = torch.zeros_like(q), torch.zeros_like(q)
    q[0, 0, 0, 0] = torch.tensor([1.0, 1.0])
    k[0, 0, 0, 1] = k[0, 0, 0, 2] = torch.tensor([1.0, 1.0])
    v[0, 0, 0, 1] = torch.tensor([1.0, 0.0])

    class Attention(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
            return (q @ k.mT) @ v

    [found] = count(Attention(), [{"q": q, "k": k, "v": v}], neuron=LIF, steps=2)
    assert found.dense == 2 * (2 * 2 * 3 * 3 * 2)
    # Four coincidences of q and k; of the two scores of 2, one meets a spike of v, which adds it once.
    assert found.acs == found.effective == found.attention == 4 + 1
    assert found.macs == 0
    assert found.adds == 2 * 5  # with addresses
    assert found.accesses == 2 * 5 + 2 * 2 * (3 * 3 + 3 * 2)  # both factors, and each result


def test_counting_leaves_the_model_as_it_was(small: Small) -> None:
    model = small().model.train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    count_batches(model, [images(model, 2)])
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_zero_weights_are_no_connections() -> None:
    linear = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        linear.weight[0, 1:] = 0
    [found] = _counted(nn.Sequential(linear), torch.ones(3, 4), LIF)
    assert (found.weights, found.zero_weights, found.connection_sparsity) == (8, 3, 3 / 8)
    assert (found.dense, found.effective, found.acs) == (8, 5, 5)


def test_energy_by_hand() -> None:
    layer = replace(Layer("", macs=10, acs=100), adds=7, muls=3, accesses=50, words=1000, activation_words=10)
    assert energy.arithmetic(layer) == pytest.approx(1e-12 * (46 + 90))
    assert energy.arithmetic(layer, "arithmetic_int8") == pytest.approx(1e-12 * (2.3 + 3))
    expected = 0.7 + 9.3 + 50 * 13.2 + 1.09e-5 * (32 * 1000 + 3 * 10)
    assert energy.lemaire(layer, bits=3) == pytest.approx(1e-12 * expected)
    assert counting.total([layer, layer]).acs == 200


@pytest.mark.parametrize(("steps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (15, 4)])
def test_bits_of_the_quantised_twin(steps: int, bits: int) -> None:
    assert energy.quantised_bits(steps) == bits


@pytest.mark.parametrize(
    ("steps", "rate", "limit", "cheaper"),
    [
        (5, 0.05, 0.057, "snn"),
        (5, 0.06, 0.057, "qnn"),
        (8, 0.06, 0.064, "snn"),
        (4, 0.2, 0.057, "qnn"),
        (16, 0.01, 0.064, "snn"),
    ],
)
def test_the_threshold_is_the_published_one(steps: int, rate: float, limit: float, cheaper: str) -> None:
    found = energy.Threshold(steps, rate)
    assert found.as_dict()["threshold"] == limit
    assert found.as_dict()["cheaper"] == cheaper
    assert ("nearest" in str(found)) is (steps not in range(5, 11))
