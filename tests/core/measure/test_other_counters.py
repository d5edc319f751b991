"""Counts against those of NeuroBench and SpikingJelly, for what both can see."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from scmrl_plugins.core.measure.counting import Layer, count, total
from scmrl_plugins.plugins.neurons.lif import LIF

STEPS, SAMPLES = 3, 6


class Net(nn.Module):
    """Convolutions and a linear layer between LIF neurons, some weights zero: ``[B, T, C, H, W] -> [B, K]``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.first_neuron = LIF(LIF.Config(threshold=0.2))
        self.second = nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second_neuron = LIF(LIF.Config(threshold=0.1))
        self.head = nn.Linear(4 * 9, 3)
        for layer in (self.first, self.second, self.head):
            layer.weight.data[torch.rand(layer.weight.shape) < 0.2] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        shape = x.shape[:2]
        x = self.first_neuron(self.first(x.flatten(0, 1)).unflatten(0, shape))
        x = self.second_neuron(self.norm(self.second(x.flatten(0, 1))).unflatten(0, shape))
        return self.head(x.flatten(2)).mean(0)


@pytest.fixture
def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


def inputs(graded: bool) -> Tensor:
    x = torch.randn(SAMPLES, STEPS, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    return x if graded else (x > 0.5).float()


def ours(net: nn.Module, x: Tensor) -> Layer:
    """Of batches of other sizes than theirs."""
    batches = [{"x": x[:1]}, {"x": x[1:]}]
    return total(count(net, batches, neuron=LIF, steps=STEPS))


@pytest.mark.parametrize("graded", [False, True])
def test_neurobench(net: Net, graded: bool) -> None:
    pytest.importorskip("neurobench")
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics import static, workload
    from neurobench.models import TorchModel

    x = inputs(graded)
    model = TorchModel(net)
    model.add_activation_module(LIF)
    metrics: Any = [
        [static.Footprint, static.ParameterCount, static.ConnectionSparsity],
        [workload.ActivationSparsity, workload.SynapticOperations],
    ]
    loader = DataLoader(TensorDataset(x, torch.zeros(SAMPLES)), batch_size=3)
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        theirs = Benchmark(model, loader, [], [], metrics).run(quiet=True)
    found = ours(net, x)
    assert found.footprint == theirs["Footprint"]
    assert sum(p.numel() for p in net.parameters()) == theirs["ParameterCount"]
    assert found.connection_sparsity == pytest.approx(theirs["ConnectionSparsity"], abs=1e-3)
    assert found.activation_sparsity == pytest.approx(theirs["ActivationSparsity"])
    operations = theirs["SynapticOperations"]
    assert found.dense == pytest.approx(operations["Dense"])
    assert found.macs == pytest.approx(operations["Effective_MACs"])
    assert found.acs == pytest.approx(operations["Effective_ACs"])
    assert (found.macs > 0) is graded
    assert 0 < found.acs < found.dense


@pytest.mark.slow
def test_spikingjelly(net: Net) -> None:
    """Its counter of accumulates takes zero weights for connections; a product of spikes counts coincidences."""
    counters = pytest.importorskip("spikingjelly.activation_based.op_counter")

    for layer in (net.first, net.second, net.head):
        layer.weight.data[layer.weight == 0] = 0.1

    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.mT

    spikes = inputs(graded=False)
    for module, x in ((net, spikes), (Attention(), spikes.flatten(2))):
        counter = counters.ACCounter()
        with counters.DispatchCounterMode([counter]), torch.no_grad():
            module(x)
        aten = torch.ops.aten
        products = {aten.convolution.default, aten.addmm.default, aten.mm.default, aten.bmm.default}
        theirs = sum(n for kind, n in counter.records["Global"].items() if kind in products)
        assert ours(module, x).acs * SAMPLES == pytest.approx(theirs)
        assert theirs > 0
