"""What the predictions for a split are measured by: one function per metric, declared by ``@metric``.

A new metric is one function here. ``scmrl eval``, the report, grids, sweeps and ``metrics.jsonl`` show every entry
of ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.evaluation.alone import METHODS
from scmrl_plugins.core.evaluation.statistics import Scores

Value = float | dict[str, float] | None

_SHOWN = 10
"""The groups of a column that tables show."""


@dataclass(frozen=True)
class Predictions:
    """A model's output for a split of n samples and K classes, in the order of the split.

    ``targets [n]`` are class indices, ``logits [n, K]`` the model's scores, ``losses [n]`` the mean loss of the
    batch of each sample. ``groups`` are by column of the data set; samples of the first one are not independent.
    """

    targets: Tensor
    logits: Tensor
    losses: Tensor
    classes: Sequence[str]
    ids: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    alone: Mapping[str, Tensor] = field(default_factory=dict)
    """The logits of each modality alone, ``[n, K]``, where they were determined."""

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def predicted(self) -> Tensor:
        """The class of the largest logit, ``[n]``."""
        return self.logits.argmax(1)

    @property
    def scores(self) -> Scores:
        """Which predictions are right, with the groups of the first column."""
        hits = (self.predicted == self.targets).numpy().astype(float)
        return Scores(self.ids, self.targets.tolist(), hits, next(iter(self.groups.values()), ()))

    @cached_property
    def confusion(self) -> Tensor:
        """Counts ``[K, K]``: rows are true classes, columns predicted ones."""
        k = len(self.classes)
        pairs = self.targets * k + self.predicted
        return torch.bincount(pairs, minlength=k * k).view(k, k)


@dataclass(frozen=True)
class Metric:
    """A function of ``Predictions``: a number, or numbers by name; and how to show it."""

    name: str
    label: str
    compute: Callable[[Predictions], Value]
    format: str
    higher_is_better: bool
    by_class: bool

    def text(self, value: Any) -> str:
        """The formatted value; empty for ``None``."""
        return "" if value is None else format(value, self.format)


METRICS: dict[str, Metric] = {}
"""All metrics by name, in the order in which they are shown."""


def metric(
    label: str, *, format: str = ".2%", higher_is_better: bool = True, by_class: bool = False
) -> Callable[[Callable[[Predictions], Any]], Callable[[Predictions], Any]]:
    """Declare a function as the metric of that name; ``by_class`` where it returns numbers by class."""

    def declare(function: Callable[[Predictions], Any]) -> Callable[[Predictions], Any]:
        name = function.__name__
        METRICS[name] = Metric(name, label, function, format, higher_is_better, by_class)
        return function

    return declare


def compute(predictions: Predictions) -> dict[str, Any]:
    """Every metric by name; those that are not defined for these predictions are left out."""
    values = {name: one.compute(predictions) for name, one in METRICS.items()}
    return {name: value for name, value in values.items() if value is not None}


def scalars(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The metrics in ``values`` that are single numbers, in the order of the table.

    ``prefix``: what precedes their names there, as in ``validation_accuracy``. Results that were written before a
    metric was added lack it.
    """
    return {
        name: values[f"{prefix}{name}"]
        for name, one in METRICS.items()
        if not one.by_class and f"{prefix}{name}" in values
    }


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``(label, text)`` of an evaluation's figures, as ``Evaluation.as_dict`` names them; those by class and group
    last, a row each."""
    shown = [(METRICS[name].label, METRICS[name].text(value)) for name, value in scalars(values).items()]
    if interval := values.get("interval"):
        shown.insert(1, ("95 % interval", f"{interval[0]:.2%} to {interval[1]:.2%} ({values['interval_method']})"))
    if method := values.get("alone_method"):
        shown.append(("alone", METHODS[method]))
    for name, one in METRICS.items():
        if one.by_class:
            shown += [(f"{one.label} {key}", one.text(value)) for key, value in values.get(name, {}).items()]
    for column, groups in values.get("per_group", {}).items():
        ranked = sorted(groups.items(), key=lambda item: item[1]["accuracy"])
        for name, figures in ranked[:_SHOWN]:
            shown.append((f"accuracy of {column} {name}", f"{figures['accuracy']:.2%} of {figures['n']}"))
        if rest := ranked[_SHOWN:]:
            worst = rest[0][1]["accuracy"]
            shown.append((f"accuracy of {len(rest)} other groups by {column}", f"{worst:.2%} or more"))
    return shown


def per_group(predictions: Predictions) -> dict[str, dict[str, dict[str, float]]]:
    """By group column and group, the number of samples ``n`` and their ``accuracy``."""
    hits = predictions.scores.hits
    found: dict[str, dict[str, dict[str, float]]] = {}
    for column, groups in predictions.groups.items():
        names, index = np.unique(np.asarray(groups), return_inverse=True)
        counts = np.bincount(index)
        shares = np.bincount(index, weights=hits) / counts
        found[column] = {
            str(name): {"n": int(n), "accuracy": float(share)}
            for name, n, share in zip(names, counts, shares, strict=True)
        }
    return found


@metric("accuracy")
def accuracy(predictions: Predictions) -> float:
    """Correct predictions / n."""
    return float(predictions.confusion.diagonal().sum()) / max(1, len(predictions))


@metric("loss", format=".4f", higher_is_better=False)
def loss(predictions: Predictions) -> float:
    """The mean of the training objective over samples, in evaluation mode: no label smoothing."""
    return float(predictions.losses.double().sum()) / max(1, len(predictions))


@metric("macro F1")
def macro_f1(predictions: Predictions) -> float:
    """mean_c 2 TP_c / (2 TP_c + FP_c + FN_c), over the classes that occur as target or prediction."""
    hits = predictions.confusion.diagonal().double()
    total = (predictions.confusion.sum(0) + predictions.confusion.sum(1)).double()
    present = total > 0
    return float((2 * hits[present] / total[present]).sum()) / max(1, int(present.sum()))


@metric("accuracy of the worst group")
def worst_group(predictions: Predictions) -> float | None:
    """The smallest accuracy of a group of the first column; not defined without groups."""
    first = next(iter(per_group(predictions).values()), None)
    return min(figures["accuracy"] for figures in first.values()) if first else None


@metric("accuracy of audio alone")
def audio_alone(predictions: Predictions) -> float | None:
    """The accuracy of what audio says alone; not defined where that was not determined."""
    return _accuracy_alone(predictions, "audio")


@metric("accuracy of visual alone")
def visual_alone(predictions: Predictions) -> float | None:
    """The accuracy of what vision says alone; not defined where that was not determined."""
    return _accuracy_alone(predictions, "visual")


def _accuracy_alone(predictions: Predictions, modality: str) -> float | None:
    logits = predictions.alone.get(modality)
    if logits is None:
        return None
    return float((logits.argmax(1) == predictions.targets).sum()) / max(1, len(predictions))


@metric("accuracy of class", by_class=True)
def per_class(predictions: Predictions) -> dict[str, float]:
    """Recall of each class that occurs: its correct predictions / its samples."""
    confusion, support = predictions.confusion, predictions.confusion.sum(1)
    return {
        name: float(confusion[i, i]) / int(support[i]) for i, name in enumerate(predictions.classes) if support[i]
    }
