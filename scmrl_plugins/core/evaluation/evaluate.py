"""A model evaluated on a split: predictions gathered from all processes, and every metric of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Batch
from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.measure.firing import FiringRates
from scmrl_plugins.core.model.assembly import Objective
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.processes import SINGLE_PROCESS, Processes
from scmrl_plugins.core.system.progress import Progress

CLEAN = Disturbance()


@dataclass
class Evaluation:
    """The result for a split of n samples: ``metrics`` by name, as ``metrics.METRICS`` declares them.

    ``confusion[true][predicted]`` are counts; ``firing_rates`` are spikes per neuron and time step, by layer.
    """

    n: int
    metrics: dict[str, Any]
    confusion: list[list[int]]
    firing_rates: dict[str, float] = field(default_factory=dict)
    disturbance: Disturbance = CLEAN

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in one level: metrics and corruptions by their names."""
        return {
            "n": self.n,
            **self.metrics,
            "confusion": self.confusion,
            "firing_rates": self.firing_rates,
            **self.disturbance.settings(),
        }


def first_inputs(
    loader: Iterable[Batch], device: torch.device, *, disturbance: Disturbance = CLEAN, seed: int = 0
) -> dict[str, Tensor]:
    """The first inputs that ``evaluate`` gives the model; random generators keep their state."""
    with torch.random.fork_rng(devices=[]):  # a loader draws a seed when it starts
        batch = {key: value.to(device) for key, value in next(iter(loader)).items()}
    return disturbance(batch, torch.Generator().manual_seed(seed))


@torch.no_grad()
def evaluate(
    model: AudioVisualModel,
    objective: Objective,
    loader: Iterable[Batch],
    device: torch.device,
    *,
    disturbance: Disturbance = CLEAN,
    seed: int = 0,
    progress: Progress | None = None,
    processes: Processes = SINGLE_PROCESS,
) -> Evaluation:
    """Evaluate a model on a split, in evaluation mode; the modules return to the mode they were in.

    ``disturbance`` corrupts the inputs, with random numbers from ``seed``. Each of several ``processes`` has every
    ``processes.count``-th batch, as ``evaluation_loader`` deals them; all of them get the result for the split.
    """
    generator = torch.Generator().manual_seed(seed)
    modes = model.training, objective.training
    model.eval()
    objective.eval()
    targets = [torch.zeros(0, dtype=torch.long)]
    logits = [torch.zeros(0, len(model.classes))]
    losses = [torch.zeros(0, dtype=torch.float64)]
    try:
        with FiringRates(model) as firing:
            for batch in loader:
                batch = {key: value.to(device) for key, value in batch.items()}
                target = batch["label"]
                output = model(**disturbance(batch, generator))
                loss, _ = objective(output, target)
                targets.append(target.cpu())
                logits.append(output.logits.cpu())
                losses.append(torch.full((len(target),), loss.item(), dtype=torch.float64))
                if progress:
                    progress.advance()
    finally:
        model.train(modes[0])
        objective.train(modes[1])
    predictions = Predictions(
        _gather(targets, processes), _gather(logits, processes), _gather(losses, processes), model.classes
    )
    firing.add_up(processes)
    return Evaluation(
        len(predictions), metrics.compute(predictions), predictions.confusion.tolist(), firing.rates, disturbance
    )


def _gather(batches: Sequence[Tensor], processes: Processes) -> Tensor:
    """The rows of all processes' batches, in the order in which one process would have them.

    ``batches`` are an empty tensor and then the batches of this process, of which the i-th is number
    ``i * count + rank`` of all.
    """
    first, *own = batches
    if processes.count == 1:
        return torch.cat([first, *own])
    counts = torch.zeros(processes.count, dtype=torch.long)
    counts[processes.rank] = len(own)
    sizes = torch.zeros(int(processes.sum(counts).max()), processes.count, dtype=torch.long)
    sizes[: len(own), processes.rank] = torch.tensor([len(batch) for batch in own], dtype=torch.long)
    sizes = processes.sum(sizes)
    ends = sizes.flatten().cumsum(0).view_as(sizes)
    # Each row is zero in all processes but one, so that the sum is the row.
    rows = first.new_zeros(int(sizes.sum()), *first.shape[1:])
    for batch, end in zip(own, ends[:, processes.rank].tolist(), strict=False):
        rows[end - len(batch) : end] = batch
    return processes.sum(rows)
