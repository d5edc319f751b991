"""One process of ``scmrl bench speed``: it holds one variant and does what its standard input says, line by line.

The first line is a ``Task`` as JSON, each further one ``{"do": COMMAND, "with": {...}}``; the answer to each is a
line ``{"value": ...}``, or ``{"error": ...}`` for what the user can mend.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.model.assembly import assemble_model
from scmrl_plugins.core.model.folding import optimize
from scmrl_plugins.core.system import allocator, memory
from scmrl_plugins.registry import UserError, catalogue, register_file

CLASSES, CHANNELS = 6, {"audio": 1, "visual": 3}
"""Those of CREMA-D, on which the model is published."""

_aten = torch.ops.aten
PRODUCTS = {
    _aten.convolution,
    _aten.convolution_backward,
    _aten.mm,
    _aten.addmm,
    _aten.bmm,
    _aten.baddbmm,
}
"""The operations that a network of these layers cannot do without."""

TENSOR_CORES = re.compile(r"tensor(op|\d)|16816|1688|884|[hg]mma|nvjet")
"""In the name of a kernel of NVIDIA's libraries: the size or the name of an instruction of tensor cores."""


@dataclass(frozen=True)
class Task:
    """What a process is told first: the variant, and on what it runs."""

    config: Mapping[str, Any]
    device: str
    threads: int
    batch: int
    kernel_shape: Sequence[int]
    every_step: bool
    """Whether a static input is written out over T, so that the first layer runs on each step."""
    keep_blocks: bool
    """Whether the C library is told to keep freed memory, as our training does."""
    plugins: Sequence[str] = ()


class Step:
    """A model, its loss and optimiser, and one random batch: ``train()`` and ``infer()`` are one step each."""

    def __init__(self, task: Task, config: ExperimentConfig) -> None:
        device = torch.device(task.device)
        classes = [f"class {number}" for number in range(CLASSES)]
        self.model, self.loss = assemble_model(config, classes, CHANNELS)
        if task.every_step:
            for encoder in self.model.encoders.values():
                encoder.register_forward_hook(lambda _module, _inputs, steps: steps.contiguous())
        self.model.to(device)
        self.loss.to(device)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 1.0  # so that neurons fire in inference as in training, a few steps long
        drawn = operations.random_inputs(self.model, device, config.train.batch_size)
        self.inputs = {name: x for name, x in drawn.items() if name in self.model.modalities}
        generator = torch.Generator().manual_seed(1)
        self.target = torch.randint(CLASSES, (config.train.batch_size,), generator=generator).to(device)
        # Training has timm choose the parameters that decay, which costs a step nothing and here six seconds.
        parameters = [p for part in (self.model, self.loss) for p in part.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, config.train.lr or 1e-4, weight_decay=1e-4)

    def train(self) -> float:
        """Forward, loss, backward, optimiser; the value of the loss."""
        loss, _ = self.loss(self.model(**self.inputs), self.target)
        value: float = loss.item()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    def infer(self) -> Tensor:
        """The logits."""
        with torch.no_grad():
            return self.model(**self.inputs).logits


@dataclass(frozen=True)
class Layout:
    """A tensor but for its numbers."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor) -> Layout:
        return cls(tuple(x.shape), tuple(x.stride()), x.dtype)

    def random(self, device: torch.device) -> Tensor:
        """A tensor of standard normal numbers laid out so."""
        last = sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        return torch.randn(last + 1, dtype=self.dtype, device=device).as_strided(self.shape, self.stride)


class Products(TorchDispatchMode):
    """While open, notes every convolution and matrix product: ``calls`` has its arguments, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple[Callable[..., Any], Any, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in PRODUCTS:
            laid_out = tree_map_only(Tensor, Layout.of, (args, kwargs or {}))
            _, _, count = self.calls.get(key := f"{func}{laid_out}", (None, None, 0))
            self.calls[key] = (func, laid_out, count + 1)
        return func(*args, **(kwargs or {}))


class Worker:
    """The commands; those that measure return seconds, or bytes."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.device = torch.device(task.device)
        torch.set_num_threads(task.threads)
        for file in task.plugins:
            register_file(file)
        if task.keep_blocks:
            allocator.keep_large_blocks()
        self.config = layers.validate(task.config)
        self.products: Products | None = None
        self.folded: Step | None = None
        self.neuron: Callable[[], Any] | None = None

    def prepare(self) -> dict[str, Any]:
        """Build the model and warm it up; the first loss and step, and the peak of memory in a later one.

        The peak, in bytes, is that of a training step over what the process held before it had the model; none
        where the system does not tell.
        """
        first = Step(self.task, self.config)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            start = time.perf_counter()
            loss = first.train()
            self._wait()
            seconds = time.perf_counter() - start
        first.train()
        del first  # it was there for what libraries and the compiler load and keep, which is not the step's
        held = memory.held(self.device)
        self.step = Step(self.task, self.config)
        self.step.train()
        self.step.train()
        peak = memory.peak(self.step.train, self.device)
        self.infer()
        return {
            "first_loss": loss,
            "first_step_seconds": seconds,
            "memory": None if peak is None or held is None else peak - held,
            "parameters": operations.count_parameters(self.step.model),
            "device_name": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None,
            "warnings": sorted({" ".join(str(warning.message).split()) for warning in caught}),
        }

    def first_loss(self, layout: str) -> float:
        """The loss of the untrained model in a layout; in one layout convolutions round alike."""
        model = self.config.model.model_copy(update={"layout": layout})
        step = Step(self.task, self.config.model_copy(update={"model": model}))
        with torch.no_grad():
            return step.loss(step.model(**step.inputs), step.target)[0].item()

    def train(self) -> float:
        """One training step."""
        self.step.model.train()
        return self._timed(self.step.train)

    def infer(self) -> float:
        """One forward pass in evaluation mode."""
        self.step.model.eval()
        return self._timed(self.step.infer)

    def infer_folded(self) -> float:
        """The same with batch norm folded, as ``scmrl eval --optimize`` does."""
        if self.folded is None:
            self.folded = copy.copy(self.step)
            self.folded.model = copy.deepcopy(self.step.model)
            optimize(self.folded.model)
        return self._timed(self.folded.infer)

    def arithmetic(self) -> float:
        """The convolutions and matrix products of one training step alone, forward and backward."""
        if self.products is None:
            self.step.model.train()
            with _uncompiled(), Products() as self.products:
                self.step.train()
        total = 0.0
        with torch.no_grad():
            for function, laid_out, count in self.products.calls.values():
                args, kwargs = tree_map(self._made, laid_out)
                total += count * self._timed(functools.partial(function, *args, **kwargs))
        return total

    def kernel(self) -> float:
        """The neuron alone, forward and backward."""
        self.neuron = self.neuron or self._neuron()
        return self._timed(self.neuron)

    def profile(self, rows: int) -> dict[str, Any]:
        """The operators that a training step spends most time in, of their own, and on a GPU its kernels."""
        self.step.model.train()
        cuda = self.device.type == "cuda"
        kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * cuda
        with torch.profiler.profile(activities=kinds) as profiler:
            self.step.train()
            self._wait()
        spent: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        events = profiler.events()
        for event in events:
            if event.device_type != DeviceType.CPU:
                continue  # a kernel of a GPU, whose time is also that of the operator which launched it
            name = _shown(event)
            spent[name] += event.self_device_time_total if cuda else event.self_cpu_time_total
            calls[name] += name == event.name
        total = spent.total() or 1.0
        operators = [
            {"operator": name, "calls": calls[name], "ms": time / 1e3, "share": time / total}
            for name, time in spent.most_common(rows)
        ]
        return {"operators": operators, "kernels": kernels(events) if cuda else None}

    def scale_steps(self, steps: Sequence[int], rounds: int) -> list[float]:
        """A training step of the model for each number of time steps, the least of ``rounds`` taken in turns."""
        models = [
            Step(
                self.task,
                self.config.model_copy(update={"model": self.config.model.model_copy(update={"steps": t})}),
            )
            for t in steps
        ]
        return self._least([model.train for model in models], rounds)

    def scale_tokens(self, fusion: str, tokens: Sequence[int], rounds: int) -> list[float]:
        """The fusion block alone, forward and backward, for each number of tokens; likewise."""
        section = self.config.fusion.model_copy(update={"name": fusion})
        block = Step(self.task, self.config.model_copy(update={"fusion": section})).model.fusion
        modalities = getattr(block, "modalities", MODALITIES)
        model, generator = self.config.model, torch.Generator().manual_seed(0)

        def case(n: int) -> Callable[[], None]:
            shape = (model.steps, self.task.batch, model.embed_dims, n)
            spikes = (torch.rand(2, *shape, generator=generator) < 0.2).float().to(self.device)
            streams = [
                x.requires_grad_() if name in modalities else None
                for name, x in zip(MODALITIES, spikes, strict=True)
            ]

            def run() -> None:
                fused = block(*streams)
                results = [*fused.streams(), *([] if fused.joint is None else [fused.joint])]
                torch.stack([result.sum() for result in results]).sum().backward()

            return run

        return self._least([case(n) for n in tokens], rounds)

    def _least(self, cases: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
        for case in cases:
            case()
        measured = [[self._timed(case) for case in cases] for _ in range(rounds)]
        return [min(times) for times in zip(*measured, strict=True)]

    def _neuron(self) -> Callable[[], Any]:
        section = self.config.neuron
        cls: Any = catalogue().get("neuron", section.name).load()
        neuron = cls(cls.Config.model_validate(section.options), None).to(self.device)
        generator = torch.Generator().manual_seed(0)
        x, grad = torch.randn(2, *self.task.kernel_shape, generator=generator).to(self.device)
        x.requires_grad_()

        def run() -> None:
            torch.autograd.grad(neuron(x), x, grad)

        return run

    def _made(self, x: Any) -> Any:
        return x.random(self.device) if isinstance(x, Layout) else x

    def _timed(self, work: Callable[[], Any]) -> float:
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()


def kernels(events: Iterable[Any]) -> dict[str, Any]:
    """How many of a profiler's events are kernels of a GPU, and what share of their time tensor cores have."""
    ran = [e for e in events if e.device_type == DeviceType.CUDA and not e.name.startswith(("Memcpy", "Memset"))]
    spent = sum(event.self_device_time_total for event in ran)
    on_tensor_cores = sum(event.self_device_time_total for event in ran if TENSOR_CORES.search(event.name))
    return {"count": len(ran), "ms": spent / 1e3, "tensor_cores": on_tensor_cores / spent if spent else 0.0}


def _shown(event: Any) -> str:
    """An operator's name; of a compiled kernel, which the compiler names by a hash, that of what it computes."""
    name: str = event.name
    outer = event.cpu_parent
    while name.startswith("## Call CompiledFxGraph") and outer is not None:
        if outer.name.startswith("scmrl::"):
            return outer.name
        outer = outer.cpu_parent
    return name


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """The neurons op by op meanwhile."""
    before = os.environ.get("SCMRL_COMPILE")
    os.environ["SCMRL_COMPILE"] = "never"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SCMRL_COMPILE"]
        else:
            os.environ["SCMRL_COMPILE"] = before


def main() -> None:
    """Answer until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    worker: Worker | None = None
    for line in sys.stdin:
        said = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if worker is None:
                worker = Worker(Task(**said))
            else:
                answer["value"] = getattr(worker, said["do"])(**said["with"])
        except UserError as error:
            answer["error"] = str(error)
        print(json.dumps(answer), file=answers, flush=True)


def as_line(value: Any) -> str:
    """A ``Task`` or a command as its line."""
    return json.dumps(dataclasses.asdict(value) if isinstance(value, Task) else value) + "\n"
