"""The plan of a training (``--dry-run``), and batches that fit into memory (``--auto-batch``)."""

from __future__ import annotations

import datetime
import math

import torch

from scmrl_plugins.core.config.sections import TrainConfig
from scmrl_plugins.core.data.prepare import feature_store
from scmrl_plugins.core.interfaces import NEEDS, SPLITS
from scmrl_plugins.core.measure.operations import count_parameters
from scmrl_plugins.core.model.assembly import Assembly, assemble
from scmrl_plugins.core.system.memory import format_bytes
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.estimate import Estimate, estimate, share
from scmrl_plugins.registry import UserError

Rows = list[tuple[str, str]]


def fit_memory(parts: Assembly, device: torch.device, processes: int, progress: Progress) -> Assembly:
    """The experiment with batches that fit into memory, accumulated so that a step keeps its samples.

    Raises ``UserError`` if a single sample does not fit.
    """
    train = parts.config.train
    estimated = estimate(parts, device, processes, train.batch_size)
    batch = estimated.largest(train.batch_size, processes)
    if batch == train.batch_size:
        return parts
    count = train.batch_size // batch * train.accumulate
    size, free = estimated.size(share(train.batch_size, processes)), estimated.free
    assert size is not None  # or the batch would have been accepted
    assert free is not None
    progress.line(
        f"a step on {train.batch_size} samples takes about {format_bytes(size)}, and {format_bytes(free)} are "
        f"free: accumulating {count} batches of {batch} samples per step"
    )
    changed = {"batch_size": batch, "accumulate": count}
    return assemble(parts.config.model_copy(update={"train": train.model_copy(update=changed)}))


def memory_error(parts: Assembly, device: torch.device, processes: int) -> UserError:
    """The error for a step that ran out of memory, with a batch size that fits if there is one."""
    train = parts.config.train
    message = f"not enough memory for train.batch_size = {train.batch_size}"
    estimated = estimate(parts, device, processes, max(1, train.batch_size // 2))
    if not estimated.trials:
        return UserError(f"{message}: make it smaller, or model.image_size, model.embed_dims or model.steps")
    batch = estimated.largest(train.batch_size, processes, below=train.batch_size)
    count = train.batch_size // batch * train.accumulate
    return UserError(
        f"{message}; {batch} would fit: start a new run with --set train.batch_size={batch} "
        f"--set train.accumulate={count}, as --auto-batch does"
    )


def describe(parts: Assembly, device: torch.device, processes: int) -> Rows:
    """Rows for people: what a training in ``processes`` processes would do, with its estimated time and memory.

    Reads the data set's list of files, not the files. Raises ``UserError`` for missing data, as training does.
    """
    config, train = parts.config, parts.config.train
    features, sizes = _data(parts)
    estimated = estimate(parts, device, processes, train.batch_size)
    if not estimated.trials:
        estimated.largest(train.batch_size, processes)
    samples, batches = train.batch_size * train.accumulate, f", {train.accumulate} batches"
    each = f", {processes} processes of {share(train.batch_size, processes)} samples each"
    chooser = "test" if train.protocol == "published" else "validation"
    return [
        *features,
        ("model", f"{config.fusion.name}, {config.neuron.name}; {count_parameters(parts.model):,} parameters"),
        ("protocol", f"{train.protocol}: the {chooser} split chooses the epoch"),
        ("a step", f"{samples} samples" + (batches if train.accumulate > 1 else "")),
        ("recipe", _recipe(train)),
        *_modulation(parts),
        ("seed", str(train.seed)),
        ("device", f"{device}" + (each if processes > 1 else "")),
        ("time", _time(parts, sizes, estimated.seconds(share(train.batch_size, processes)) * train.accumulate)),
        ("memory", _memory(estimated, share(train.batch_size, processes))),
    ]


def _modulation(parts: Assembly) -> Rows:
    """What the modulation costs, or no row without one."""
    if parts.modulation is None:
        return []
    forward, backward = parts.modulation.passes
    needs = "".join(f"; {NEEDS[need]}" for need in sorted(parts.modulation.needs))
    return [
        ("modulation", f"{parts.config.modulation.name}: {forward} forward, {backward} backward a batch{needs}")
    ]


def _recipe(train: TrainConfig) -> str:
    return f"{train.optimizer}, rate {train.lr:g} by {train.schedule}, {train.warmup_epochs} epochs of warm-up"


def _data(parts: Assembly) -> tuple[Rows, dict[str, int | None]]:
    """Rows about the data, and the samples of each split, none for a stream."""
    rows = parts.dataset.splits()
    status = {name: feature_store(parts.dataset, parts.config, name, rows).status() for name in SPLITS}
    sizes = {name: split.total for name, split in status.items()}
    stored = sum(split.stored for split in status.values())
    missing = sum(split.total - split.stored for split in status.values() if split.total is not None)
    text = ", ".join(f"{n or 'a stream'} {name}" for name, n in sizes.items())
    return [
        ("data set", f"{parts.config.dataset.name}: {text}"),
        ("features", f"{stored} samples stored, {missing} to be computed first"),
    ], sizes


def _time(parts: Assembly, sizes: dict[str, int | None], step: float) -> str:
    """The time of all epochs, for a step of that many seconds."""
    train = parts.config.train
    published = train.protocol == "published"
    trained = [sizes["train"], *([sizes["validation"]] if published else [])]
    if None in trained:
        return f"{step:.3g} s per step; the number of samples in the stream is not known"
    per_step = train.batch_size * train.accumulate
    steps = math.ceil(sum(size or 0 for size in trained) / per_step)
    # An evaluation is a forward pass, about a third of a training step.
    evaluation = (sizes["test" if published else "validation"] or 0) / per_step / 3
    total = datetime.timedelta(seconds=round(step * (steps + evaluation) * train.epochs))
    return f"about {total} for {train.epochs} epochs of {steps} steps, {step:.3g} s each"


def _memory(estimated: Estimate, batch: int) -> str:
    """The memory of a step on that many samples, beside what is free."""
    size, free = estimated.size(batch), estimated.free
    text = "not known on this system" if size is None else f"about {format_bytes(size)} per process"
    if free is None:
        return text
    return f"{text}, {format_bytes(free)} free" + (
        "" if estimated.fits(batch) else ": too little, see --auto-batch"
    )
