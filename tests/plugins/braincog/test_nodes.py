"""BrainCog's nodes through the adapter.

Calls repeated on one input are compared to the bit; so are spikes with those of the node that the adapter steps.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from cli_runs import fork_python, run_python
from pydantic import ValidationError
from torch import nn

from scmrl_plugins.plugins.braincog import NODES, nodes
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES
from scmrl_plugins.plugins.neurons.upstream import node
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.numerical

NEURONS = sorted(
    entry.qualified for entry in catalogue().entries if entry.kind == "neuron" and entry.plugin.builtin
)
RANDOM = {"braincog:NoiseLIFNode", "braincog:NoisePLIFNode"}
FUSED = ["if", "lif", "plif", "alif", "ternary", "relu", "quantized"]
ANALOGUE = {"ternary", "relu", "quantized", "ReLUNode", "BiasReLUNode", "BurstLIFNode"} | {
    "DGLIFNode",
    "HTDGLIFNode",
    "LIAFNode",
}


def neuron(name: str, **config: Any) -> nn.Module:
    cls = catalogue().get("neuron", name).load()
    return cls(cls.Config(**config))


def test_every_node_is_registered() -> None:
    assert sorted([*(f"neurons:{name}" for name in FUSED), *(f"braincog:{name}" for name in NODES)]) == NEURONS


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_keeps_the_interface(name: str) -> None:
    torch.manual_seed(0)
    layer = neuron(name)
    x = (torch.randn(4, 2, 3, 5) * 2 + 1).requires_grad_()
    out = layer(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.isfinite().all()
    if name.partition(":")[2] not in ANALOGUE:
        assert set(out.unique().tolist()) <= {0.0, 1.0}
    (out * torch.randn(out.shape)).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0
    assert layer(torch.randn(1, 1, 2)).shape == (1, 1, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_works_in_half_precision(name: str, dtype: torch.dtype) -> None:
    x = (torch.randn(4, 2, 3, 5, generator=torch.manual_seed(0)) * 2 + 1).to(dtype).requires_grad_()
    out = neuron(name).to(dtype)(x)
    assert out.dtype == dtype
    assert out.isfinite().all()
    out.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in NEURONS if name not in RANDOM])
def test_no_state_is_left_between_calls(name: str) -> None:
    layer = neuron(name)
    x = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(1)) * 2 + 1
    first = layer(x)
    layer(torch.randn(3, 5, 2, 2) * 5)
    assert torch.equal(layer(x), first)
    assert torch.equal(copy.deepcopy(layer)(x), first)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_noise_is_drawn_from_torchs_generator(name: str) -> None:
    layer = neuron(name)
    x = torch.randn(4, 2, 200) + 0.5
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(layer(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


@pytest.mark.parametrize("name", [name for name in NEURONS if name not in RANDOM])
def test_samples_do_not_see_each_other(name: str) -> None:
    layer = neuron(name)
    x = torch.randn(4, 3, 15, generator=torch.Generator().manual_seed(1)) * 2 + 1
    # Not to the bit: a sample moves to another position in the processor's vectors, where SELU rounds otherwise.
    torch.testing.assert_close(layer(x)[:, [2, 0, 1]], layer(x[:, [2, 0, 1]]))


def test_steps_the_node_it_is_named_after() -> None:
    x = torch.randn(5, 2, 30, generator=torch.Generator().manual_seed(1)) + 1
    for name in ("PLIFNode", "IFNode", "BiasLIFNode"):
        theirs = getattr(node, name)()
        theirs.n_reset()
        expected = torch.stack([theirs(current) for current in x])
        assert torch.equal(neuron(name)(x), expected), name


def test_settings_reach_the_node() -> None:
    layer = neuron("LIFNode", threshold=0.75, tau=3.0, surrogate="sigmoid", alpha=5.0)
    assert float(layer.node.threshold) == 0.75
    assert layer.node.tau == 3.0
    assert type(layer.node.act_fun).__name__ == SURROGATES["sigmoid"].braincog
    assert float(layer.node.act_fun.alpha) == 5.0
    assert neuron("LIFNode", options={"dt": 0.5}).node.dt == 0.5
    assert neuron("LIFNode", detach_membrane=False).node.mem_detach is False


def test_detached_membrane_stops_the_gradient_at_each_step() -> None:
    x = torch.full((3, 1, 1), 0.3, requires_grad=True)
    for detach in (True, False):
        out = neuron("LIFNode", surrogate="sigmoid", threshold=1.0, detach_membrane=detach)(x)
        (grad,) = torch.autograd.grad(out[2].sum(), x)
        assert grad[2].item() > 0
        assert (grad[0].item() == 0) is detach


def test_learned_time_constant_learns() -> None:
    layer = neuron("PLIFNode")
    layer(torch.randn(4, 2, 20) + 1).sum().backward()
    assert layer.node.w.grad.abs() > 0


def test_zero_input_leaves_a_leaky_node_silent() -> None:
    """Whatever BrainCog's reset leaves behind, a node starts from a membrane of zero."""
    silent = torch.zeros(3, 2, 4)
    for name in ("LIFNode", "PLIFNode", "DGLIFNode", "HTDGLIFNode", "IFNode", "BurstLIFNode", "OnlineLIFNode"):
        assert torch.count_nonzero(neuron(name)(silent)) == 0, name


def test_izhikevich_constants_can_be_set() -> None:
    x = torch.full((40, 1, 1), 10.0)
    for name in ("IzhNode", "IzhNodeMU"):
        layer = neuron(name, options={"a": 0.05, "b": 0.3, "c": -60.0, "d": 1.0})
        assert (layer.node.a, layer.node.b, layer.node.c, layer.node.d) == (0.05, 0.3, -60.0, 1.0)
        assert layer(x).isfinite().all()


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("LIFNode", {"options": {"v_rest": 0.1}}, "v_reset"),
        ("LIFNode", {"options": {"tau": 2.5}}, "tau"),
        ("LIFNode", {"options": {"mem_detach": False}}, "mem_detach"),
        ("IFNode", {"tau": 2.5}, "IFNode has none"),
        ("ReLUNode", {"tau": 2.5}, "ReLUNode has none"),
        ("ReLUNode", {"surrogate": "atan"}, "ReLUNode has none"),
        ("ReLUNode", {"alpha": 2.0}, "no slope"),
        ("LIAFNode", {"surrogate": "atan"}, "LIAFNode has none"),
        ("BurstLIFNode", {"alpha": 2.0}, "no slope"),
        # The adapter steps the node itself, one time step a call.
        ("LIFNode", {"options": {"layer_by_layer": True}}, "layer_by_layer"),
        ("LIFNode", {"options": {"n_groups": 2}}, "n_groups"),
        ("LIFNode", {"options": {"step": 4}}, "step"),
        ("ReLUNode", {"options": {"requires_fp": True}}, "requires_fp"),
        ("DGLIFNode", {"options": {"v_reset": 0.5}}, "v_reset"),
    ],
)
def test_what_a_node_does_not_have_is_refused(name: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        neuron(name, **config)


@pytest.mark.parametrize("key", ["act_fun", "spike_act", "dt", "v_reset"])
@pytest.mark.parametrize("name", ["LIFNode", "LIAFNode", "ReLUNode"])
def test_no_string_reaches_braincog(name: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its constructors evaluate some of theirs."""
    monkeypatch.delenv("SCMRL_EVALUATED", raising=False)
    code = "__import__('os').environ.__setitem__('SCMRL_EVALUATED', '1')"
    with pytest.raises((UserError, ValidationError)):
        neuron(name, options={key: code})
    with pytest.raises(ValidationError):
        neuron(name, surrogate=code)
    assert "SCMRL_EVALUATED" not in os.environ


def test_an_unknown_node_is_not_an_attribute() -> None:
    with pytest.raises(AttributeError, match="NoSuchNode"):
        nodes.NoSuchNode  # noqa: B018
    assert nodes.PLIFNode is nodes.PLIFNode


BUILD_AND_ASK_TIMM = """
import scmrl_plugins
small = {"steps": 2, "embed_dims": 16, "num_heads": 2, "image_size": 8}
for name in ("lif", "LIFNode", "PLIFNode", "OnlineLIFNode"):
    scmrl_plugins.build({"neuron": {"name": name}, "model": small})
import timm
print(type(timm.create_model("resnet18")).__module__, "braincog.base.node.node" in sys.modules)
"""


@pytest.mark.slow
def test_nothing_of_ours_stands_in_for_braincogs_package() -> None:
    """Nor for timm's models, when timm is imported later: in a new process, where it is not."""
    done = run_python(
        "-c",
        "import sys\n"
        "from scmrl_plugins.plugins.braincog import nodes\n"
        "from scmrl_plugins.plugins.neurons import lif, upstream\n"
        "print('braincog.base' in sys.modules, 'torchvision' in sys.modules, 'timm' in sys.modules)\n"
        # The real submodules are in place, so whoever imports them later gets the same classes.
        "print(sys.modules['braincog.base.node.node'] is upstream.node)\n"
        "print(sys.modules['braincog.base.strategy.surrogate'] is upstream.surrogate)\n"
        "print(issubclass(lif.LIF, upstream.node.LIFNode))\n"
        "print(any(name.startswith('braincog.model_zoo') for name in sys.modules))\n" + BUILD_AND_ASK_TIMM,
    )
    assert done.code == 0, done.err
    expected = ["False", "False", "False", "True", "True", "True", "False", "timm.models.resnet", "True"]
    assert done.out.split() == expected


@pytest.mark.slow
def test_timms_registry_is_left_alone() -> None:
    done = fork_python(
        "import sys, timm\n"
        "from timm.models._registry import _model_entrypoints as entries\n"
        "before = dict(entries)\n"
        "from scmrl_plugins.plugins.braincog import nodes\n"
        "nodes.PLIFNode(nodes.PLIFNode.Config())\n"
        "print(before == entries, entries['resnet18'].__module__)\n" + BUILD_AND_ASK_TIMM,
    )
    assert done.code == 0, done.err
    assert done.out.split() == ["True", "timm.models.resnet", "timm.models.resnet", "True"]
