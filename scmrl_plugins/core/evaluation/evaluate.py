"""How good a model is on a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Batch
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.measure.operations import FiringRates
from scmrl_plugins.core.model.assembly import Objective
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.processes import ALONE, Processes
from scmrl_plugins.core.system.progress import Progress

CLEAN = Disturbance()


@dataclass
class Evaluation:
    """Accuracy in [0, 1], loss (without label smoothing), per class, and ``confusion[true][predicted]``."""

    n: int
    accuracy: float
    loss: float
    per_class: dict[str, float]
    confusion: list[list[int]]
    firing_rates: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    occlusion: dict[str, float] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def first_inputs(
    loader: Iterable[Batch], device: torch.device, *, disturbance: Disturbance = CLEAN, seed: int = 0
) -> dict[str, Tensor]:
    """What ``evaluate`` gives the model first; the generators are left as they were."""
    with torch.random.fork_rng(devices=[]):  # a loader that starts draws a seed
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
    processes: Processes = ALONE,
) -> Evaluation:
    """Run a split through the model in evaluation mode.

    ``disturbance``: what is done to the inputs, its draws from ``seed``. The modules come back in the mode they
    were in. Several ``processes`` each bring their own batches, and all get the result for the whole.
    """
    k = len(model.classes)
    confusion = torch.zeros(k, k, dtype=torch.long)
    generator = torch.Generator().manual_seed(seed)
    modes = model.training, objective.training
    model.eval()
    objective.eval()
    total = 0.0
    try:
        with FiringRates(model) as firing:
            for batch in loader:
                batch = {key: value.to(device) for key, value in batch.items()}
                target = batch["label"]
                output = model(**disturbance(batch, generator))
                loss, _ = objective(output, target)
                total += float(loss) * len(target)
                pairs = (target * k + output.logits.argmax(1)).cpu()
                confusion += torch.bincount(pairs, minlength=k * k).view(k, k)
                if progress:
                    progress.advance()
    finally:
        model.train(modes[0])
        objective.train(modes[1])
    confusion = processes.total(confusion)
    total = float(processes.total(torch.tensor(total, dtype=torch.float64)))
    firing.add_up(processes)
    n = int(confusion.sum())
    support = confusion.sum(1)
    return Evaluation(
        n=n,
        accuracy=float(confusion.diagonal().sum()) / max(1, n),
        loss=total / max(1, n),
        per_class={
            name: float(confusion[i, i]) / int(support[i]) for i, name in enumerate(model.classes) if support[i]
        },
        confusion=confusion.tolist(),
        firing_rates=firing.rates,
        **disturbance.model_dump(mode="json", include={"noise", "occlusion", "dropped"}),
    )
