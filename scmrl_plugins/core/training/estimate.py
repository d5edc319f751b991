"""The time and memory of a training step, estimated from a few steps on random inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import Assembly, assemble_model, build_modulation
from scmrl_plugins.core.system import memory
from scmrl_plugins.core.training import recipe
from scmrl_plugins.core.training.modulated import modulated_step
from scmrl_plugins.core.training.step import Plain, Step
from scmrl_plugins.registry import UserError

_LONGEST = 1.0
"""Seconds of a step beyond which no larger batch is tried."""
_AT_LEAST = 3
"""Trials, where the memory allows them: the first two mostly show what a step of any size takes."""
_SHARE = 0.9
"""The share of the free memory that a step may take: not all of it can be had in pieces of the right size."""


@dataclass(frozen=True)
class Trial:
    """A training step on ``batch`` samples: seconds, and bytes, ``None`` if the system does not report them."""

    batch: int
    seconds: float
    size: int | None


@dataclass(frozen=True)
class Estimate:
    """What a step takes, by the samples of one process: trials, and the line through the first and the last.

    ``free``: bytes of memory that are available; ``None`` if the system does not report them.
    """

    trials: Sequence[Trial]
    free: int | None

    def seconds(self, batch: int) -> float:
        """The time of a step on ``batch`` samples."""
        return self._at(batch, [trial.seconds for trial in self.trials])

    def size(self, batch: int) -> float | None:
        """The bytes of a step on ``batch`` samples."""
        sizes = [trial.size for trial in self.trials if trial.size is not None]
        return self._at(batch, sizes) if len(sizes) == len(self.trials) else None

    def fits(self, batch: int) -> bool:
        """Whether the memory suffices for ``batch`` samples; true if it is unknown."""
        size = self.size(batch)
        return size is None or self.free is None or size <= _SHARE * self.free

    def largest(self, batch: int, processes: int, below: int | None = None) -> int:
        """The largest divisor of a batch, below a limit if there is one, whose share per process fits.

        Raises ``UserError`` if not even one sample does.
        """
        for size in range(max(1, (below or batch + 1) - 1), 0, -1):
            if batch % size == 0 and self.trials and self.fits(share(size, processes)):
                return size
        raise UserError(
            "not enough memory for one sample: make model.image_size, model.embed_dims or model.steps smaller"
        )

    def _at(self, batch: int, values: Sequence[float]) -> float:
        if len(values) == 1:
            return values[0] * batch / self.trials[0].batch
        first, last = self.trials[0].batch, self.trials[-1].batch
        return values[0] + (values[-1] - values[0]) * (batch - first) / (last - first)


def share(batch: int, processes: int) -> int:
    """The most samples of a batch that one of the processes gets."""
    return math.ceil(batch / processes)


def estimate(parts: Assembly, device: torch.device, processes: int, batch: int) -> Estimate:
    """Try training steps of 2, 4, 8, ... samples up to a process's share of ``batch``.

    Ends early where a step is slow or does not fit into memory.

    Processes share the memory of a CPU, while each has a GPU to itself. Weights, random generators and the model
    itself do not change.
    """
    largest = share(batch, processes)
    trials: list[Trial] = []
    with torch.random.fork_rng(devices=[]):
        before, free = memory.held(device), memory.free(device)
        if free is not None and device.type != "cuda":
            free //= processes
        step = _random_step(parts, device)
        for size in [*(2**power for power in range(1, largest.bit_length()) if 2**power < largest), largest]:
            enough = len(trials) >= _AT_LEAST
            if enough and (trials[-1].seconds > _LONGEST or not Estimate(trials, free).fits(size)):
                break
            if (trial := _try(step, size, device, before)) is None:
                break
            trials.append(trial)
    return Estimate(trials, free)


def _try(step: Callable[[int], object], batch: int, device: torch.device, before: int | None) -> Trial | None:
    """A trial, or ``None`` if the memory does not suffice. ``before``: bytes in use without the model."""

    def run() -> None:
        step(batch)
        if device.type != "cpu":
            torch.accelerator.synchronize()

    try:
        run()  # compiles kernels, and chooses them for this size
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        most = memory.peak(run, device)  # in a separate run, because its page faults take time
    except Exception as error:
        if not memory.out_of_memory(error):
            raise
        return None
    return Trial(batch, seconds, None if most is None or before is None else max(0, most - before))


def _random_step(parts: Assembly, device: torch.device) -> Callable[[int], object]:
    """A function that trains a copy of the experiment's model on ``batch`` random samples."""
    config = parts.config
    model, loss = assemble_model(config, parts.dataset.classes, parts.dataset.channels)
    modulation = build_modulation(model)
    modules = {"model": model, "loss": loss} | ({} if modulation is None else {"modulation": modulation})
    both = nn.ModuleDict(modules).to(device).train()
    recipe.freeze(model, config.train)
    optimizer, clip = recipe.optimizer(both, config), config.train.clip_grad
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.train.precision)
    if modulation is not None:
        copied = dataclasses.replace(parts, model=model, loss=loss, modulation=modulation)
        plain = Plain(contextlib.nullcontext if kind is None else lambda: torch.autocast(device.type, kind))
        step: Step = modulated_step(copied, loss, optimizer, clip_grad=clip, accelerator=plain)
    else:
        if kind is not None:
            model.forward = torch.autocast(device.type, kind)(model.forward)  # type: ignore[method-assign]
        step = Step(model, loss, optimizer, clip_grad=clip)

    def run(batch: int) -> object:
        target = torch.arange(batch, device=device) % len(model.classes)
        return step([{**random_inputs(model, device, batch), "label": target}])

    return run
