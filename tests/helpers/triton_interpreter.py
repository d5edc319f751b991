"""The neuron's loop as the compiler writes it for a GPU, run by Triton's interpreter on the CPU.

Started with ``TRITON_INTERPRET=1`` by ``test_compiled_neurons.py``: Triton reads it when it is imported. Of a GPU
only its properties are made up, which the compiler asks for; the kernel's source is the compiler's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch._inductor.config
from torch import Tensor
from torch._inductor import compile_fx
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime.hints import DeviceProperties
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from scmrl_plugins.plugins.kernels import compiled
from scmrl_plugins.plugins.neurons import fused
from scmrl_plugins.registry import catalogue

GPU = {"major": 9, "minor": 0, "multi_processor_count": 80, "warp_size": 32, "regs_per_multiprocessor": 65536}
PROPERTIES = DeviceProperties(
    type="cuda",
    index=0,
    cc=90,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    **{name: value for name, value in GPU.items() if name != "minor"},
)


class Written(BaseException):
    """The source is there, and nothing is to be done with it."""


def source_for_a_gpu(function: Any, like: list[Tensor]) -> str:
    """What the compiler writes for ``function`` of tensors like these on a GPU."""
    found: list[str] = []

    def keep(source: str) -> None:
        found.append(source)
        raise Written

    with FakeTensorMode():
        fake = [torch.empty(x.shape, dtype=x.dtype, device="cuda") for x in like]
        graph = make_fx(function)(*fake)
    # Folding constants would allocate some on the GPU.
    options = compiled.AS_OP_BY_OP | {"force_disable_caches": True, "joint_graph_constant_folding": False}
    with contextlib.ExitStack() as stack:
        for patch in (
            mock.patch("torch._inductor.scheduler.has_triton", return_value=True),
            mock.patch("torch.cuda.get_device_properties", return_value=mock.Mock(**GPU)),
            mock.patch("torch.utils._triton.triton_hash_with_backend", return_value=""),
            mock.patch.object(DeviceProperties, "create", return_value=PROPERTIES),
            mock.patch.object(GraphLowering, "save_output_code", keep),
            torch._inductor.config.patch(options),
            contextlib.suppress(Written),
        ):
            stack.enter_context(patch)
        compile_fx.compile_fx(graph, fake)
    return found[0]


def interpreted(source: str, inputs: list[Tensor], folder: Path) -> Tensor:
    """What the source returns, its kernels run one after the other over memory of the CPU."""
    kernels = re.findall(r"^@triton\.jit\n.*?(?=\n''')", source, re.MULTILINE | re.DOTALL)
    imports = re.findall(r"^(?:import triton|from torch\._inductor\.runtime).*$", source, re.MULTILINE)
    file = folder / "kernels.py"
    file.write_text("\n".join([*dict.fromkeys(line.strip() for line in imports), *kernels]))
    spec = importlib.util.spec_from_file_location("kernels", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    called = re.search(r"^    def call\(.*?^        return .*?$", source, re.MULTILINE | re.DOTALL)
    assert called is not None
    steps = re.findall(r"^ +(?:buf\d+ = |triton_\w+\.run\(|return ).*$", called[0], re.MULTILINE)
    assert len(kernels) == sum(".run(" in step for step in steps)
    program = "\n".join(step.strip().replace("return ", "returned = ") for step in steps)
    names: dict[str, Any] = {
        "torch": torch,
        "empty_strided_cuda": lambda shape, stride, dtype: torch.empty_strided(shape, stride, dtype=dtype),
        "reinterpret_tensor": torch.as_strided,
        **{f"arg{number}_1": x for number, x in enumerate(inputs)},
        **{f"{name}stream0": None for name in ("", "raw_")},
        **{name: Launched(getattr(module, name)) for name in re.findall(r"def (triton_\w+)", "\n".join(kernels))},
    }
    exec(program, names)
    (found,) = names["returned"]
    return found


class Launched:
    """A kernel over as many blocks as its last argument, the number of elements, needs."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def run(self, *args: Any, stream: None) -> None:
        block = 128
        self.kernel[(-(-args[-1] // block),)](*args, XBLOCK=block)


def compare(name: str, folder: Path) -> None:
    """The spikes of a neuron with those of the CPU, op by op, to the bit."""
    cls: Any = catalogue().get("neuron", name).load()
    neuron = cls(cls.Config(threshold=0.8, tau=2.3))
    x = torch.randn(6, 300, generator=torch.Generator().manual_seed(0)) * 2 + 0.4
    x[0, :3] = torch.tensor([0.8 * 2.3, float("inf"), -1e30])

    def loop(x: Tensor, rate: Tensor, threshold: Tensor) -> Tensor:
        return fused.run(x, rate, threshold, neuron.dynamics, None, None, None)[0]

    inputs = [x, torch.as_tensor(neuron.rate()).detach(), neuron.threshold.detach()]
    expected = loop(*inputs)
    assert 0.1 < expected.mean() < 0.9
    found = interpreted(source_for_a_gpu(loop, inputs), inputs, folder)
    assert torch.equal(found, expected), f"{name}: {int((found != expected).sum())} spikes are others"


if __name__ == "__main__":
    for name in sys.argv[2:]:
        compare(name, Path(sys.argv[1]))
