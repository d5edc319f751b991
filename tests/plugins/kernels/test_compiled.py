"""Neurons through the compiler against the same op by op, and what happens where there is no compiler.

Spikes and membranes are compared to the bit: a neuron multiplies, adds and compares in a fixed order, and each of
these operations rounds alike on every processor and at every position in its vectors.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from compiler import needs_compiler
from paths import HELPERS
from torch import Tensor, nn

from scmrl_plugins.plugins.kernels import compiled
from scmrl_plugins.plugins.kernels.neuron import Kernel
from scmrl_plugins.plugins.neurons import fused
from scmrl_plugins.plugins.neurons.alif import ALIF
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.plif import PLIF
from scmrl_plugins.registry import UserError


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for neurons that have none in C++, and on a GPU."""
    monkeypatch.setattr(Kernel, "applies", lambda *_: False)


def inputs(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Layouts that a layer hands on: channels last, a few samples of it, one step repeated."""
    x = torch.randn(4, 6, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype) * 2 + 0.4
    x[0, 0, 0, 0, :3] = torch.tensor([2.0, float("inf"), -1e30])
    x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 6))
    return {"whole": x, "samples": x[:, 2:4], "repeated": x[:1].expand(4, -1, -1, -1, -1)}


def many_steps(steps: int) -> Tensor:
    return torch.randn(steps, 2, 3, 5, generator=torch.Generator().manual_seed(2)) * 2 + 0.4


def run(neuron: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    leaf = x.detach().requires_grad_()
    spikes = neuron(leaf)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    learned = [p for p in neuron.parameters() if p.requires_grad]
    return spikes, list(torch.autograd.grad((spikes * weight).sum(), [leaf, *learned]))


@pytest.mark.slow
# Each takes seconds to compile: one for each path through the kernel.
@needs_compiler
@pytest.mark.parametrize(
    ("cls", "dtype", "layouts"),
    [
        (LIF, torch.float32, ["whole", "samples", "repeated"]),
        (LIF, torch.float64, ["whole"]),
        (PLIF, torch.float32, ["whole"]),
    ],
)
def test_same_spikes_to_the_bit(
    cls: Any, dtype: torch.dtype, layouts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    neuron = cls(cls.Config(threshold=0.8))
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for name in layouts:
        x = inputs(dtype)[name]
        monkeypatch.setenv("SCMRL_COMPILE", "never")
        spikes, gradients = run(neuron, x)
        monkeypatch.setenv("SCMRL_COMPILE", "always")
        assert compiled.worth(x)
        theirs, others = run(neuron, x)
        assert torch.equal(spikes, theirs), name
        assert 0 < spikes.float().mean() < 1
        for ours, other in zip(gradients, others, strict=True):
            assert ours.dtype == other.dtype
            torch.testing.assert_close(ours, other, **tolerance, equal_nan=True)
    assert not compiled._broken


def op_by_op_and_compiled(neuron: Any, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Any:
    for policy in ("never", "always"):
        monkeypatch.setenv("SCMRL_COMPILE", policy)
        yield run(neuron, x)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(("cls", "steps"), [(LIF, 37), (PLIF, 64), (ALIF, 37)])
def test_many_steps_in_pieces_are_the_loop_over_all(cls: Any, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled by the backend that keeps each operation as it is, so that gradients have equal bits too."""
    keep_operations(monkeypatch)
    eager, pieces = op_by_op_and_compiled(cls(cls.Config(tau=20.0)), many_steps(steps), monkeypatch)
    assert 0 < eager[0].mean() < 1
    assert torch.equal(eager[0], pieces[0])
    assert torch.equal(eager[1][0], pieces[1][0])
    torch.testing.assert_close(eager[1], pieces[1])  # of the rate, a sum over steps
    assert not compiled._broken


@pytest.mark.slow
@needs_compiler
def test_the_membrane_is_carried_through_the_kernels_of_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    eager, pieces = op_by_op_and_compiled(LIF(LIF.Config(tau=20.0)), many_steps(64), monkeypatch)
    assert torch.equal(eager[0], pieces[0])
    torch.testing.assert_close(eager[1], pieces[1], rtol=1e-5, atol=1e-5)
    assert not compiled._broken


@pytest.mark.slow
def test_no_graph_grows_with_the_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor, therefore, does the time that compiling takes."""
    graphs = keep_operations(monkeypatch)
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    found = {}
    for steps in (fused.UNROLLED, 2 * fused.UNROLLED, 64):
        graphs.clear()
        run(LIF(LIF.Config()), many_steps(steps))
        found[steps] = list(graphs)
    assert [len(found[steps]) for steps in found] == [2, 2, 0]  # forward and backward; 64 steps run those of 32
    assert max(found[2 * fused.UNROLLED]) < 1.2 * max(found[fused.UNROLLED])  # what is carried costs a little


def keep_operations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Compile into a graph of operations and no further; the number of them, graph by graph."""
    graphs: list[int] = []

    def keep(graph: Any, _inputs: Any, **_options: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(compiled, "torch", Torch(keep))
    for function in (fused.compiled_run, fused.compiled_gradients):
        monkeypatch.setattr(function, "_compiled", {})
    return graphs


class Torch:
    """``torch`` with another compiler."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def compile(self, function: Any, **options: Any) -> Any:
        return torch.compile(function, **options, backend=self.backend)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("repeated", [True, False])
def test_spikes_pooled_in_one_kernel_are_the_same(repeated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs()["repeated" if repeated else "whole"]
    neuron, pool = LIF(LIF.Config(threshold=0.8)), nn.MaxPool2d(3, 2, 1)
    monkeypatch.setenv("SCMRL_COMPILE", "never")
    spikes = neuron(x)
    expected = pool(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])
    with torch.no_grad():
        assert neuron.pooled(x, pool, 4) is None
        monkeypatch.setenv("SCMRL_COMPILE", "always")
        found = neuron.pooled(x, pool, 4)
        assert torch.equal(found, expected)
        assert found[0].is_contiguous(memory_format=torch.channels_last)
        assert neuron.pooled(x.contiguous(), pool, 4) is None  # channels first
    assert neuron.pooled(x, pool, 4) is None  # with gradients
    assert 0 < expected.mean() < 1
    assert not compiled._broken


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton")
def test_the_kernel_of_a_gpu_has_the_same_spikes_to_the_bit(tmp_path: Path) -> None:
    """What the compiler writes for a GPU, in Triton's interpreter: its arithmetic is NumPy's, not a GPU's.

    PLIF is LIF with a rate that is learned.
    """
    program = HELPERS / "triton_interpreter.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "plif"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_broken_compiler_is_reported_once_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nand a long story")

    x = inputs()["whole"]
    expected, gradients = run(LIF(LIF.Config()), x)
    monkeypatch.setenv("SCMRL_COMPILE", "always")
    monkeypatch.setattr(compiled, "_broken", False)
    monkeypatch.setattr(compiled, "_warned", False)
    monkeypatch.setattr(compiled.torch, "compile", lambda *_args, **_kwargs: broken)
    neuron = LIF(LIF.Config(tau=2.0, threshold=1.0, alpha=4.0, surrogate="sigmoid"))
    neuron.dynamics = type(neuron.dynamics)(neuron.dynamics.surrogate, 4.000000001)  # compiled by nobody yet
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler found"):
        spikes, others = run(neuron, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(neuron, x)
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(gradients, others)


def test_small_tensors_and_counted_operations_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.delenv("SCMRL_COMPILE", raising=False)
    monkeypatch.setattr(compiled, "_broken", False)
    large = torch.empty(compiled.ELEMENTS)
    assert compiled.worth(large)
    assert not compiled.worth(large[1:])
    assert not compiled.worth(large.bfloat16())
    with FlopCounterMode(display=False):
        assert not compiled.worth(large)
    monkeypatch.setenv("SCMRL_COMPILE", "never")
    assert not compiled.worth(large)
    monkeypatch.setenv("SCMRL_COMPILE", "sometimes")
    with pytest.raises(UserError, match="SCMRL_COMPILE = 'sometimes': expected one of auto, always, never"):
        compiled.worth(large)
