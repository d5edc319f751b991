"""What one process of ``scmrl bench speed`` measures: a single variant."""

from __future__ import annotations

import contextlib
import copy
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from scmrl_plugins.bench.speed.operations import Products
from scmrl_plugins.bench.speed.profile import profile
from scmrl_plugins.bench.speed.settings import BASELINE, OURS, Settings
from scmrl_plugins.bench.speed.step import Step
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.model.folding import optimize
from scmrl_plugins.core.system import allocator, memory
from scmrl_plugins.registry import catalogue, register_file


def start(variant: str, settings: Settings, device: str, plugins: Sequence[str]) -> Worker:
    """Set up this process for a variant, and its worker."""
    torch.set_num_threads(settings.threads)
    for file in plugins:
        register_file(file)
    if variant == OURS:  # as our training does
        allocator.keep_large_blocks()
    return Worker(variant, settings, device)


class Worker:
    """The measurements of a variant, in seconds unless stated otherwise."""

    def __init__(self, variant: str, settings: Settings, device: str) -> None:
        self.settings = settings
        self.config = settings.config(variant)
        self.device = torch.device(device)
        self.every_step = variant == BASELINE
        self.products: Products | None = None
        self.folded: Step | None = None
        self.neuron: Callable[[], Any] | None = None

    def prepare(self) -> dict[str, Any]:
        """Build the model and warm it up; the first loss, the time of the first step, and the peak memory.

        The peak is of a training step, in bytes, less what the process held before it built the model; none where
        the system does not report it.
        """
        first = self._step(self.config)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            start = time.perf_counter()
            loss = first.train()
            self._synchronize()
            seconds = time.perf_counter() - start
        first.train()
        del first  # libraries and the compiler have loaded by now what they keep, which is not the step's memory
        held = memory.held(self.device)
        self.step = self._step(self.config)
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
        """The loss of the untrained model in a layout: in the same layout convolutions round alike."""
        step = self._step(_with_model(self.config, layout=layout))
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
        """One forward pass with batch norm folded, as ``scmrl eval --optimize`` does it."""
        if self.folded is None:
            self.folded = copy.copy(self.step)
            self.folded.model = copy.deepcopy(self.step.model)
            optimize(self.folded.model)
        return self._timed(self.folded.infer)

    def arithmetic(self) -> float:
        """The convolutions and matrix products of a training step, forward and backward."""
        if self.products is None:
            self.step.model.train()
            with _uncompiled(), Products() as self.products:
                self.step.train()
        with torch.no_grad():
            return sum(count * self._timed(call) for call, count in self.products.replays(self.device))

    def kernel(self) -> float:
        """The neuron, forward and backward."""
        self.neuron = self.neuron or self._neuron()
        return self._timed(self.neuron)

    def profile(self, rows: int) -> dict[str, Any]:
        """A training step by operator; see ``profile.profile``."""
        self.step.model.train()
        return profile(lambda: self._timed(self.step.train), rows, cuda=self.device.type == "cuda")

    def scale_steps(self, steps: Sequence[int], rounds: int) -> list[float]:
        """A training step for each number of time steps: the minimum of alternating ``rounds``."""
        return self._minima([self._step(_with_model(self.config, steps=t)).train for t in steps], rounds)

    def scale_tokens(self, fusion: str, tokens: Sequence[int], rounds: int) -> list[float]:
        """Minimum times of the fusion block, forward and backward, for each number of tokens."""
        section = self.config.fusion.model_copy(update={"name": fusion})
        block = self._step(self.config.model_copy(update={"fusion": section})).model.fusion
        model, generator = self.config.model, torch.Generator().manual_seed(0)

        def case(n: int) -> Callable[[], None]:
            shape = (model.steps, self.settings.batch, model.embed_dims, n)
            spikes = (torch.rand(2, *shape, generator=generator) < 0.2).float().to(self.device)
            streams = [
                x.requires_grad_() if name in block.modalities else None
                for name, x in zip(MODALITIES, spikes, strict=True)
            ]

            def run() -> None:
                fused = block(*streams)
                results = [*fused.streams(), *([] if fused.joint is None else [fused.joint])]
                torch.stack([result.sum() for result in results]).sum().backward()

            return run

        return self._minima([case(n) for n in tokens], rounds)

    def _step(self, config: ExperimentConfig) -> Step:
        return Step(config, self.device, every_step=self.every_step)

    def _minima(self, cases: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
        for case in cases:
            case()
        measured = [[self._timed(case) for case in cases] for _ in range(rounds)]
        return [min(times) for times in zip(*measured, strict=True)]

    def _neuron(self) -> Callable[[], Any]:
        section = self.config.neuron
        cls: Any = catalogue().get("neuron", section.name).load()
        neuron = cls(cls.Config.model_validate(section.options), None).to(self.device)
        generator = torch.Generator().manual_seed(0)
        x, grad = torch.randn(2, *self.settings.kernel_shape, generator=generator).to(self.device)
        x.requires_grad_()

        def run() -> None:
            torch.autograd.grad(neuron(x), x, grad)

        return run

    def _timed(self, work: Callable[[], Any]) -> float:
        self._synchronize()
        start = time.perf_counter()
        work()
        self._synchronize()
        return time.perf_counter() - start

    def _synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()


def _with_model(config: ExperimentConfig, **changes: Any) -> ExperimentConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Neurons run op by op in the block."""
    before = os.environ.get("SCMRL_COMPILE")
    os.environ["SCMRL_COMPILE"] = "never"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SCMRL_COMPILE"]
        else:
            os.environ["SCMRL_COMPILE"] = before
