"""NIR: a network of convolutions and neurons goes out complete; of others, the layers that NIR lacks are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scmrl_plugins.core.interfaces import IntegrateAndFire
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.export.exporting import export
from scmrl_plugins.export.formats import nir as nir_format
from scmrl_plugins.export.nir.operators import DT, _squared
from scmrl_plugins.export.nir.steps import Stepper
from scmrl_plugins.plugins.neurons.alif import ALIF
from scmrl_plugins.plugins.neurons.integrate_and_fire import IF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF
from scmrl_plugins.plugins.neurons.ternary import Ternary
from scmrl_plugins.registry import UserError

nir = pytest.importorskip("nir")

Make = Callable[..., Run]


@pytest.mark.numerical
def test_convolutions_and_neurons_go_out_complete(make: Make) -> None:
    run = make(backbone={"name": "conv-net"}, fusion={"name": "late"}, readout={"name": "concat"})
    path = run.path / "net.nir"
    exported = export(run, "nir", path, progress=Progress.silent())
    assert not exported.lacking
    assert exported.comparison.max_difference < 1e-5
    assert exported.comparison.n == 18
    graph = nir.read(path)
    kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
    assert set(kinds.values()) == {*("Input", "Output", "Conv2d", "LIF", "AvgPool2d", "Flatten", "Affine")}
    assert list(kinds.values()).count("Affine") == 3  # one sums both modalities' logits up, before the output
    assert kinds["logits"] == "Output"
    assert {name for name, kind in kinds.items() if kind == "Input"} == {"audio", "visual"}
    neuron = graph.nodes["backbones.visual.neuron"]
    assert neuron.tau.shape == (8, 8, 8)
    assert neuron.tau == pytest.approx(2 * DT)
    assert neuron.v_threshold == pytest.approx(0.3)
    assert float(graph.metadata["dt"]) == DT
    assert json.loads(graph.metadata["classes"]) == ["one", "two", "three"]
    model = run.load_model()
    inputs = random_inputs(model, torch.device("cpu"), 5, seed=3)
    with torch.no_grad():
        expected = model(**inputs).logits
    torch.testing.assert_close(nir_format.reader(path)(inputs), expected, atol=1e-5, rtol=0)
    assert expected.std(0).max() > 1e-3


def reached(graph: Any, source: str) -> Any:
    """The part of a graph that a change of one input can reach."""
    names = {source}
    for _ in graph.nodes:
        names |= {after for before, after in graph.edges if before in names}
    nodes = {name: node for name, node in graph.nodes.items() if name in names}
    return nir.NIRGraph(nodes, [edge for edge in graph.edges if edge[0] in names])


@pytest.mark.slow
@pytest.mark.numerical
@pytest.mark.parametrize("reader", ["spikingjelly.activation_based.nir_exchange", "snntorch.import_nir"])
def test_other_libraries_read_it(make: Make, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Their readers take graphs of one input, and snnTorch's only samples without a batch in front."""
    read = pytest.importorskip(reader).import_from_nir
    run = make(backbone={"name": "conv-net"}, fusion={"name": "late"}, readout={"name": "concat"})
    path = run.path / "net.nir"
    export(run, "nir", path, progress=Progress.silent())
    part = reached(nir.read(path), "visual")
    x = torch.randn(6, 5, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = Stepper(part, DT)({"visual": x})["logits"]
    assert expected.std(0).min() > 1e-3
    batches = [(x, expected)]
    if reader.startswith("snntorch"):
        batches = [(x[:, index], expected[:, index]) for index in range(2)]
    for given, logits in batches:
        network, state = read(part), None  # snnTorch's neurons keep their state
        for one, at_step in zip(given, logits, strict=True):
            with torch.no_grad():
                found, state = network(one, state)
            torch.testing.assert_close(found, at_step, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(3, 1), (1, 5), (2, 3), (3, 3)])
def test_a_kernel_becomes_square_where_zeros_fit_around_it(size: tuple[int, int]) -> None:
    weight, x = torch.randn(4, 2, *size), torch.randn(1, 2, 9, 11)
    squared, padding = _squared(weight, [1, 0], [2, 1])
    assert (squared.shape[2] == squared.shape[3]) == (size != (2, 3))
    expected = torch.nn.functional.conv2d(x, weight, padding=(1, 0), dilation=(2, 1))
    found = torch.nn.functional.conv2d(x, squared, padding=padding, dilation=(2, 1))
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_what_nir_lacks_is_named_by_layer(make: Make, tmp_path: Path) -> None:
    run = make(fusion={"name": "audio"})
    path = tmp_path / "net.nir"
    with pytest.raises(UserError) as refused:
        export(run, "nir", path, progress=Progress.silent())
    for words in ("backbones.audio.patches.pool: max pooling", "fusion.attention: a product of two signals"):
        assert words in str(refused.value)
    assert not path.exists()
    exported = export(run, "nir", path, partial=True, progress=Progress.silent())
    assert exported.lacking == {
        "backbones.audio.patches.pool": ["max pooling"],
        "fusion.attention": ["a product of two signals"],
    }
    assert exported.comparison.holds
    assert exported.comparison.max_difference < 1e-4
    graph = nir.read(path, type_check=False)
    neurons = [name for name, node in graph.nodes.items() if isinstance(node, nir.LIF)]
    assert len(neurons) == 2 + 1 + 5 + 2  # stages, position, attention, MLP


def spikes(x: torch.Tensor, spec: IntegrateAndFire) -> torch.Tensor:
    """Of the NIR node that a neuron layer becomes, stepped."""
    full = np.ones(x.shape[2:], np.float32)
    threshold = np.float32(spec.threshold)
    if spec.fires_at_threshold:
        threshold = np.nextafter(threshold, np.float32(-np.inf), dtype=np.float32)
    common = {"v_threshold": full * threshold, "v_reset": 0 * full}
    if spec.tau is None:
        node = nir.IF(r=full * np.float32(1 / DT), **common)
    else:
        node = nir.LIF(tau=full * np.float32(spec.tau * DT), r=full, v_leak=0 * full, **common)
    shape = np.array(x.shape[2:])
    nodes = {"in": nir.Input({"input": shape}), "n": node, "out": nir.Output({"output": shape})}
    return Stepper(nir.NIRGraph(nodes, [("in", "n"), ("n", "out")]), DT)({"in": x})["out"]


@pytest.mark.parametrize("surrogate", ["sigmoid", "atan"])
@pytest.mark.parametrize("kind", [LIF, IF, PLIF])
def test_neurons_mean_the_same_in_nir(kind: type, surrogate: str) -> None:
    """Also at the threshold itself, where some fire and others do not, for as many steps as it takes to reset."""
    neuron = kind(kind.Config(threshold=0.5, surrogate=surrogate, **({"tau": 4.0} if kind is not IF else {})))
    spec = neuron.integrate_and_fire()
    x = torch.randint(-8, 9, (12, 3, 64), generator=torch.Generator().manual_seed(0)) / 4.0
    x[0, :, :8] = 0.5 if kind is IF else 2.0  # to the threshold exactly
    with torch.no_grad():
        expected = neuron(x)
    assert 0.05 < expected.mean() < 0.95
    assert bool(expected[0, 0, 0]) == spec.fires_at_threshold == (surrogate == "sigmoid")
    assert (spikes(x, spec) != expected).float().mean() <= (0.005 if kind is PLIF else 0)


def test_other_neurons_have_no_such_parameters() -> None:
    for kind in (ALIF, Ternary):
        assert kind(kind.Config()).integrate_and_fire() is None


def test_a_loop_is_refused() -> None:
    shape = np.array([2])
    one = nir.Scale(scale=np.ones(2, np.float32))
    nodes = {"in": nir.Input({"input": shape}), "a": one, "out": nir.Output({"output": shape})}
    graph = nir.NIRGraph(nodes, [("in", "a"), ("a", "a"), ("a", "out")], type_check=False)
    with pytest.raises(UserError, match="loop"):
        Stepper(graph, DT)
