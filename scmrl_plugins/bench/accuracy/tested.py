"""What is recorded of a network's or a baseline's answers under a condition, and what a network costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Loader, evaluation_loader
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.contribution import Contribution, contribution
from scmrl_plugins.core.evaluation.disturbance import Disturbance, DisturbedData
from scmrl_plugins.core.evaluation.evaluate import CLEAN, Evaluation, evaluate
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.evaluation.profile import profile
from scmrl_plugins.core.measure import firing, operations
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.tokens import FromTokens, TokenCache


def answers(
    parts: Assembly,
    loader: Loader,
    condition: Disturbance,
    seed: int,
    device: torch.device,
    progress: Progress,
    tokens: TokenCache | None,
) -> Evaluation:
    """A network evaluated under a condition, where something is disturbed and there are ``tokens`` from those.

    ``loader`` is an ``evaluation_loader``. What each modality says alone is measured where nothing is disturbed.
    """
    model, loss = parts.model, parts.loss.to(device)
    clean = _clean(condition)
    if tokens is None or clean:
        options: Any = {"disturbance": condition, "seed": seed, "progress": progress, "blanked": clean}
        return evaluate(model, loss, loader, device, **options)
    split = loader.dataset.split
    disturbed = evaluation_loader(split, parts.config, data=DisturbedData(split, condition, seed))
    head: Any = FromTokens(model)
    return evaluate(head, loss, tokens.loader(disturbed), device, seed=seed, progress=progress)


def contributions(
    model: AudioVisualModel,
    split: FeatureSplit,
    condition: Disturbance,
    seed: int,
    device: torch.device,
    progress: Progress,
    tokens: TokenCache | None,
) -> Contribution:
    """The contribution by direction under a condition, from ``tokens``, if any, where nothing is disturbed."""
    if tokens is None or not _clean(condition):
        return contribution(model, split, device, disturbance=condition, seed=seed, progress=progress)
    head: Any = FromTokens(model)
    return contribution(head, split, device, seed=seed, progress=progress, reading=tokens.loader)


def figures(predictions: Predictions, cluster: str | None) -> dict[str, Any]:
    """The metrics that are single numbers, and the samples and the correct answers of each group.

    Groups are those of the column ``cluster``; none: of the data set's first one.
    """
    correct = (predictions.predicted == predictions.targets).tolist()
    column = cluster or next(iter(predictions.groups), None)
    groups: dict[str, dict[str, list[int]]] = {}
    if column is not None and column in predictions.groups:
        names = predictions.groups[column]
        counts = groups[column] = {name: [0, 0] for name in sorted(set(names))}
        for name, right in zip(names, correct, strict=True):
            counts[name][0] += 1
            counts[name][1] += right
    return {"n": len(predictions), "metrics": metrics.scalars(metrics.compute(predictions)), "groups": groups}


def _clean(condition: Disturbance) -> bool:
    return condition.settings() == CLEAN.settings()


def predictions(probabilities: np.ndarray, labels: np.ndarray, split: FeatureSplit) -> Predictions:
    """Probabilities ``[n, K]`` for the samples of a split as predictions, whose loss is the cross entropy."""
    logits = torch.from_numpy(np.log(np.maximum(probabilities, 1e-12))).float()
    targets = torch.from_numpy(labels)
    losses = torch.nn.functional.nll_loss(logits, targets, reduction="none").double()
    return Predictions(targets, logits, losses, split.dataset.classes, split.ids, split.groups)


def costs(model: AudioVisualModel, loader: Loader, clean: Evaluation, device: torch.device) -> dict[str, Any]:
    """Parameters and operations, and firing rates and energy over the complete clean split."""

    def inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: batch[name].to(device) for name in model.channels if name in batch}

    measured, _ = operations.measure(model, inputs(next(iter(loader))))
    found = profile(model, loader, device)
    spent = found.total
    rates = clean.firing_rates
    return {
        "parameters": measured.parameters,
        "operations": measured.operations,
        "firing_rate": sum(rates.values()) / max(1, len(rates)),
        "dead_layers": firing.dead_layers(rates),
        "spike_rate": 1 - (spent.activation_sparsity or 0),
        "footprint": spent.footprint,
        "dense": spent.dense,
        "effective": spent.effective,
        "multiply_accumulates": spent.macs,
        "accumulates": spent.acs,
        "attention": spent.attention,
        "membrane_updates": spent.membrane_updates,
        "energy_joules": found.energy["arithmetic"],
        "energy_int8_joules": found.energy["arithmetic_int8"],
        "energy_lemaire_joules": found.energy["lemaire"],
    }
