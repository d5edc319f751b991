"""What a training would do, and what time and memory it would take, from a few steps on random inputs."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from scmrl_plugins.core.data.prepare import feature_store
from scmrl_plugins.core.interfaces import SPLITS
from scmrl_plugins.core.measure.operations import count_parameters, random_inputs
from scmrl_plugins.core.model.assembly import Assembly, assemble, assemble_model
from scmrl_plugins.core.system import memory
from scmrl_plugins.core.system.memory import format_bytes
from scmrl_plugins.core.training import recipe
from scmrl_plugins.registry import UserError

_ENOUGH = 1.0
"""Seconds that a step may take for a larger batch to be tried as well."""
_AT_LEAST = 3
"""Trials, where the memory is enough for them: the first two are mostly what every step takes."""
_SHARE = 0.9
"""Of the free memory, what a step may take: not all of it can be had in pieces of the right size."""


@dataclass(frozen=True)
class Trial:
    """A training step on so many samples, its seconds, and its bytes, none where the system does not tell."""

    batch: int
    seconds: float
    size: int | None


@dataclass(frozen=True)
class Estimate:
    """What a step takes, by the samples of one process: trials, and the line through the first and the last."""

    trials: Sequence[Trial]
    free: int | None

    def seconds(self, batch: int) -> float:
        """Of a step on so many samples."""
        return self._at(batch, [trial.seconds for trial in self.trials])

    def size(self, batch: int) -> float | None:
        """Bytes that a step on so many samples takes."""
        sizes = [trial.size for trial in self.trials if trial.size is not None]
        return self._at(batch, sizes) if len(sizes) == len(self.trials) else None

    def fits(self, batch: int) -> bool:
        """Whether the memory is enough for so many samples; so it is where nobody knows."""
        size = self.size(batch)
        return size is None or self.free is None or size <= _SHARE * self.free

    def _at(self, batch: int, values: Sequence[float]) -> float:
        if len(values) == 1:
            return values[0] * batch / self.trials[0].batch
        first, last = self.trials[0].batch, self.trials[-1].batch
        return values[0] + (values[-1] - values[0]) * (batch - first) / (last - first)


def estimate(parts: Assembly, device: torch.device, processes: int, batch: int) -> Estimate:
    """Try training steps of 2, 4, 8, ... samples, until one is slow, or has a share of ``batch``, or does not fit.

    Processes share the memory of a CPU; a GPU is each one's own. Weights, generators and the model itself stay as
    they are.
    """
    share = _share(batch, processes)
    trials: list[Trial] = []
    with torch.random.fork_rng(devices=[]):
        before, free = memory.held(device), memory.free(device)
        if free is not None and device.type != "cuda":
            free //= processes
        step = _Step(parts, device)
        for size in [*(2**power for power in range(1, share.bit_length()) if 2**power < share), share]:
            enough = len(trials) >= _AT_LEAST
            if enough and (trials[-1].seconds > _ENOUGH or not Estimate(trials, free).fits(size)):
                break
            if (found := _tried(step, size, device, before)) is None:
                break
            trials.append(found)
    return Estimate(trials, free)


def _tried(step: _Step, batch: int, device: torch.device, before: int | None) -> Trial | None:
    """None where the memory is not enough."""

    def run() -> None:
        step(batch)
        if device.type != "cpu":
            torch.accelerator.synchronize()

    try:
        run()  # what is compiled or chosen for this size
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        most = memory.peak(run, device)  # by itself, as its page faults take time
    except Exception as error:
        if not memory.out_of_memory(error):
            raise
        return None
    return Trial(batch, seconds, None if most is None or before is None else max(0, most - before))


class _Step:
    """A training step on random inputs, of a model like that of ``parts``, with its optimiser."""

    def __init__(self, parts: Assembly, device: torch.device) -> None:
        config, self.device = parts.config, device
        self.model, self.loss = assemble_model(config, parts.dataset.classes, parts.dataset.channels)
        both = nn.ModuleDict({"model": self.model, "loss": self.loss}).to(device).train()
        recipe.freeze(self.model, config.train)
        self.optimizer = recipe.optimizer(both, config)
        kinds: dict[str, Any] = {"bf16": torch.bfloat16, "fp16": torch.float16}
        self.kind = kinds.get(config.train.precision)

    def __call__(self, batch: int) -> None:
        target = torch.arange(batch, device=self.device) % len(self.model.classes)
        inputs = random_inputs(self.model, self.device, batch)
        with torch.autocast(self.device.type, self.kind, enabled=self.kind is not None):
            output = self.model(**inputs)
        loss, _ = self.loss(output, target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def fitting(parts: Assembly, device: torch.device, processes: int, progress: Any) -> Assembly:
    """The parts, with batches that fit the memory; gradients are accumulated so that a step has as many samples.

    Raises ``UserError`` where one sample is too much.
    """
    train = parts.config.train
    known = estimate(parts, device, processes, train.batch_size)
    found = _largest(known, train.batch_size, processes)
    if found == train.batch_size:
        return parts
    count = train.batch_size // found * train.accumulate
    size, free = known.size(_share(train.batch_size, processes)), known.free
    assert size is not None  # else all would fit
    assert free is not None
    progress.line(
        f"a step on {train.batch_size} samples takes about {format_bytes(size)}, and {format_bytes(free)} are "
        f"free: {count} batches of {found} samples a step"
    )
    changed = {"batch_size": found, "accumulate": count}
    return assemble(parts.config.model_copy(update={"train": train.model_copy(update=changed)}))


def complaint(parts: Assembly, device: torch.device, processes: int) -> str:
    """What to say where a step took more memory than there is, with the batch that would fit if one is known."""
    train = parts.config.train
    known = estimate(parts, device, processes, max(1, train.batch_size // 2))
    said = f"not enough memory for train.batch_size = {train.batch_size}"
    if not known.trials:
        return f"{said}: make it smaller, or model.image_size, model.embed_dims or model.steps"
    found = _largest(known, train.batch_size, processes, below=train.batch_size)
    count = train.batch_size // found * train.accumulate
    return (
        f"{said}; {found} would fit: train anew with --set train.batch_size={found} "
        f"--set train.accumulate={count}, which is what --auto-batch does"
    )


def make(parts: Assembly, device: torch.device, processes: int) -> list[tuple[str, str]]:
    """What a training by so many processes would do, for people, with the time of a step and its memory tried out.

    Reads the data set's list of files, not the files. Raises ``UserError`` as training does for what is not there.
    """
    config, train = parts.config, parts.config.train
    rows = parts.dataset.splits()
    status = {name: feature_store(parts.dataset, config, name, rows).status() for name in SPLITS}
    sizes = {name: split.total for name, split in status.items()}
    stored = sum(split.stored for split in status.values())
    missing = sum(split.total - split.stored for split in status.values() if split.total is not None)
    published = train.protocol == "published"
    fitted = [sizes["train"], *([sizes["validation"]] if published else [])]
    samples = None if None in fitted else sum(size or 0 for size in fitted)
    share = _share(train.batch_size, processes)
    known = estimate(parts, device, processes, train.batch_size)
    if not known.trials:
        _largest(known, train.batch_size, processes)
    together = train.batch_size * train.accumulate
    out = [
        ("data set", f"{config.dataset.name}: " + ", ".join(f"{n or 'a stream'} {s}" for s, n in sizes.items())),
        ("features", f"{stored} samples stored, {missing} to be computed first"),
        ("model", f"{config.fusion.name}, {config.neuron.name}; {count_parameters(parts.model):,} parameters"),
        ("protocol", f"{train.protocol}: the {'test' if published else 'validation'} split chooses the epoch"),
        ("a step", f"{together} samples" + (f", {train.accumulate} batches" if train.accumulate > 1 else "")),
        ("recipe", f"{train.optimizer}, rate {train.lr:g}, {train.warmup_epochs} epochs of warm-up"),
        ("seed", str(train.seed)),
        ("device", f"{device}" + (f", {processes} processes of {share} samples each" if processes > 1 else "")),
    ]
    step = known.seconds(share) * train.accumulate
    if samples is None:
        out.append(("time", f"{step:.3g} s a step; the stream does not tell how many there are"))
    else:
        steps = math.ceil(samples / together)
        # An evaluation is a forward pass, about a third of a training step.
        judged = (sizes["test" if published else "validation"] or 0) / together / 3
        epoch = step * (steps + judged)
        total = datetime.timedelta(seconds=round(epoch * train.epochs))
        out.append(("time", f"about {total} for {train.epochs} epochs of {steps} steps, {step:.3g} s each"))
    size, free = known.size(share), known.free
    told = "not known here" if size is None else f"about {format_bytes(size)} a process"
    if free is not None:
        told += f", {format_bytes(free)} free" + ("" if known.fits(share) else ": too little, see --auto-batch")
    out.append(("memory", told))
    return out


def _largest(known: Estimate, batch: int, processes: int, below: int | None = None) -> int:
    """The largest divisor of a batch that fits, if any is that small."""
    for found in range(max(1, (below or batch + 1) - 1), 0, -1):
        if batch % found == 0 and known.trials and known.fits(_share(found, processes)):
            return found
    raise UserError(
        "not enough memory for one sample: make model.image_size, model.embed_dims or model.steps smaller"
    )


def _share(batch: int, processes: int) -> int:
    return math.ceil(batch / processes)
