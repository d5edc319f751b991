"""What the predictions for a split are measured by: one function per metric, declared by ``@metric``.

A new metric is one function here. ``scmrl eval``, the report, grids, sweeps and ``metrics.jsonl`` show every entry
of ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Value = float | dict[str, float]


@dataclass(frozen=True)
class Predictions:
    """A model's output for a split of n samples and K classes, in the order of the split.

    ``targets [n]`` are class indices, ``logits [n, K]`` the model's scores, ``losses [n]`` the mean loss of the
    batch of each sample.
    """

    targets: Tensor
    logits: Tensor
    losses: Tensor
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def confusion(self) -> Tensor:
        """Counts ``[K, K]``: rows are true classes, columns predicted ones."""
        k = len(self.classes)
        pairs = self.targets * k + self.logits.argmax(1)
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
    """Every metric by name."""
    return {name: one.compute(predictions) for name, one in METRICS.items()}


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
    """``(label, text)`` of every metric in ``values``, those by class last, a row each."""
    shown = [(METRICS[name].label, METRICS[name].text(value)) for name, value in scalars(values).items()]
    for name, one in METRICS.items():
        if one.by_class:
            shown += [(f"{one.label} {key}", one.text(value)) for key, value in values.get(name, {}).items()]
    return shown


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


@metric("accuracy of class", by_class=True)
def per_class(predictions: Predictions) -> dict[str, float]:
    """Recall of each class that occurs: its correct predictions / its samples."""
    confusion, support = predictions.confusion, predictions.confusion.sum(1)
    return {
        name: float(confusion[i, i]) / int(support[i]) for i, name in enumerate(predictions.classes) if support[i]
    }
