"""A model evaluated on a split: predictions gathered from all processes, and every metric of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Batch, Loader
from scmrl_plugins.core.evaluation import alone, metrics
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.evaluation.statistics import Interval, accuracy_interval
from scmrl_plugins.core.measure.firing import FiringRates
from scmrl_plugins.core.model.assembly import Objective
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.processes import SINGLE_PROCESS, Processes
from scmrl_plugins.core.system import seeds
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

CLEAN = Disturbance()


@dataclass
class Evaluation:
    """The result for a split: its ``predictions``, and their ``metrics`` by name, as ``metrics.METRICS`` declares
    them. ``firing_rates`` are spikes per neuron and time step, by layer; ``constant_layers`` fire the same
    for every sample.
    """

    predictions: Predictions
    metrics: dict[str, Any]
    firing_rates: dict[str, float] = field(default_factory=dict)
    constant_layers: list[str] = field(default_factory=list)
    disturbance: Disturbance = CLEAN
    precision: str = "fp32"
    alone_method: str = ""
    """How ``predictions.alone`` was determined, one of ``alone.METHODS``; empty where it was not."""
    contribution: dict[str, Any] | None = None
    """What ``contribution.contribution`` returned, where it was measured."""

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.predictions)

    @property
    def confusion(self) -> list[list[int]]:
        """Counts, ``confusion[true][predicted]``."""
        return self.predictions.confusion.tolist()

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the accuracy, clustered by the first group column; none where all are one group."""
        scores = self.predictions.scores
        return None if not self.n or len(set(scores.groups)) == 1 else accuracy_interval(scores)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in one level: metrics, interval, groups and corruptions by their names."""
        interval, column = self.interval, next(iter(self.predictions.groups), None)
        if interval and interval.clusters:
            method = f"clustered by {column}: {interval.clusters}, design effect {interval.design_effect:.1f}"
        else:
            method = f"none: all samples are of one {column}" if column else "samples taken as independent"
        return {
            "n": self.n,
            **self.metrics,
            **({"alone_method": self.alone_method} if self.alone_method else {}),
            "interval": [interval.low, interval.high] if interval else None,
            "interval_method": method,
            "per_group": metrics.per_group(self.predictions),
            "confusion": self.confusion,
            "firing_rates": self.firing_rates,
            "constant_layers": self.constant_layers,
            "precision": self.precision,
            **self.disturbance.settings(),
            **({} if self.contribution is None else {"contribution": self.contribution}),
        }


def first_inputs(
    loader: Loader, device: torch.device, *, disturbance: Disturbance = CLEAN, seed: int = 0
) -> dict[str, Tensor]:
    """The first inputs that ``evaluate`` gives the model; random generators keep their state."""
    with torch.random.fork_rng(devices=[]):  # a loader draws a seed when it starts
        batch = next(iter(loader))
    return corrupted_inputs(batch, loader, device, disturbance, seed)


@torch.no_grad()
def evaluate(
    model: AudioVisualModel,
    objective: Objective,
    loader: Loader,
    device: torch.device,
    *,
    disturbance: Disturbance = CLEAN,
    seed: int = 0,
    progress: Progress | None = None,
    processes: Processes = SINGLE_PROCESS,
    blanked: bool = False,
) -> Evaluation:
    """Evaluate a model on a split, in evaluation mode; the modules return to the mode they were in.

    The precision is that of the training, ``train.precision``, on every device and for any copy of the weights.
    ``loader`` is an ``evaluation_loader``. ``disturbance`` corrupts the inputs, with random numbers from ``seed``,
    the same for any batches and processes; ``seed`` and the first sample of a batch also seed torch's generators,
    for components that draw, and the generators return to their state. All of several ``processes`` get the
    result for the split. ``blanked``: whether it fuses twice more to see what each modality says alone, where the
    model has no split for that.
    """
    modes = model.training, objective.training
    model.eval()
    objective.eval()
    seen = [(torch.zeros(0, dtype=torch.long), torch.zeros(0, len(model.classes)), torch.zeros(0).double())]
    indices = [torch.zeros(0, dtype=torch.long)]
    found = alone.method(model)
    found = found if found == "split" or blanked else ""
    blank = loader.dataset.split.blank
    unimodal = alone.Blanked(model, blank) if found == "blank" else alone.Split(model)
    # The same in all processes, also in one that has no batch.
    single: dict[str, list[Tensor]] = {name: [] for name in model.modalities if found}
    firing = FiringRates(model)
    try:
        with seeds.generators_kept(device), trained_precision(model, device), unimodal:
            for batch in loader:
                inputs = corrupted_inputs(batch, loader, device, disturbance, seed)
                first = seeds.mix(seed, int(batch["index"][0]))
                torch.manual_seed(first)
                with firing:
                    output = model(**inputs)
                loss, _ = objective(output, batch["label"].to(device))
                losses = torch.full((len(batch["label"]),), loss.item(), dtype=torch.float64)
                seen.append((batch["label"], output.logits.float().cpu(), losses))
                indices.append(batch["index"])
                torch.manual_seed(first)
                for name, scores in unimodal(inputs).items():
                    single[name].append(scores.float().cpu())
                if progress:
                    progress.advance()
    finally:
        model.train(modes[0])
        objective.train(modes[1])
    predictions = _predictions(model, loader, torch.cat(indices), seen, single, processes)
    firing.add_up(processes)
    measured = metrics.compute(predictions), firing.rates, firing.constant
    return Evaluation(predictions, *measured, disturbance, model.config.train.precision, found)


def _predictions(
    model: AudioVisualModel,
    loader: Loader,
    index: Tensor,
    seen: Sequence[tuple[Tensor, Tensor, Tensor]],
    single: Mapping[str, Sequence[Tensor]],
    processes: Processes,
) -> Predictions:
    """The predictions of all processes: targets, logits and losses by batch, and the logits of each modality."""
    targets, logits, losses = (
        _by_index(index, torch.cat(column), processes) for column in zip(*seen, strict=True)
    )
    data = loader.dataset.split
    apart = {name: _by_index(index, torch.cat([logits[:0], *rows]), processes) for name, rows in single.items()}
    return Predictions(targets, logits, losses, model.classes, data.ids, data.groups, apart)


def trained_precision(model: AudioVisualModel, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Mixed precision as in the training of the model; ``UserError`` where the device does not have it."""
    name = model.config.train.precision
    if name == "fp32":
        return contextlib.nullcontext()  # not a disabled autocast, for which torch.compile compiles anew
    if not torch.amp.is_autocast_available(device.type):
        raise UserError(f"train.precision = {name!r} does not work on {device}: use another --device")
    return torch.autocast(device.type, torch.bfloat16 if name == "bf16" else torch.float16)


def corrupted_inputs(
    batch: Batch, loader: Loader, device: torch.device, disturbance: Disturbance, seed: int
) -> dict[str, Tensor]:
    """The inputs of a batch of an ``evaluation_loader`` as the model gets them."""
    inputs = disturbance(batch, loader.dataset.split.blank, seed)
    return {name: x.to(device) for name, x in inputs.items()}


def _by_index(index: Tensor, rows: Tensor, processes: Processes) -> Tensor:
    """The rows of all processes, each at its sample's index in the split."""
    total = int(processes.sum(torch.tensor(len(index))))
    # Each row is zero in all processes but one, so that the sum is the row.
    ordered = rows.new_zeros(total, *rows.shape[1:])
    ordered[index] = rows
    return processes.sum(ordered)
