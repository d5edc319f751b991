"""The baselines by name: each gives the probabilities of the classes for the test split under a condition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scmrl_plugins.bench.accuracy.baselines import rules
from scmrl_plugins.bench.accuracy.baselines.linear import linear
from scmrl_plugins.bench.accuracy.baselines.material import Material
from scmrl_plugins.bench.accuracy.grid import Baseline
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import CLEAN
from scmrl_plugins.registry import UserError

Answer = Callable[[Disturbance], np.ndarray]


def answers(baseline: Baseline, material: Material) -> Answer:
    """The function from a condition to probabilities ``[n, K]`` of a baseline."""
    if baseline.kind == "linear":
        return linear(baseline.modalities, material)
    return {"chance": _chance, "product": _product, "pipeline": _pipeline}[baseline.kind](material)


def _chance(material: Material) -> Answer:
    """The frequencies of the classes in the training split, for every sample."""
    counts = np.bincount(material.split("train").labels, minlength=len(material.parts.dataset.classes))
    row = counts / counts.sum()
    return lambda _condition: np.tile(row, (len(material.split("test")), 1))


def _product(material: Material) -> Answer:
    """The product of the single modalities' calibrated probabilities."""

    def answer(condition: Disturbance) -> np.ndarray:
        opinions = material.opinions("test", condition)
        return rules.same(opinions["audio"], opinions["visual"])

    return answer


def _pipeline(material: Material) -> Answer:
    """What each modality says alone, calibrated, and the rule of the task by which the answer follows from it."""
    task = material.parts.config.dataset.options.get("task")
    known: dict[str, Answer] = {
        "same": _product(material),
        "match": lambda condition: rules.match(**material.opinions("test", condition)),
        "sum": lambda condition: rules.total(**material.opinions("test", condition)),
    }
    if task == "select":
        return _selection(material)
    if task not in known:
        raise UserError(
            f"baseline {material.cell.row.name}: no rule for dataset.task = {task!r} of data set "
            f"{material.parts.config.dataset.name!r}; there are rules for {', '.join([*known, 'select'])}"
        )
    return known[task]


def _selection(material: Material) -> Answer:
    """The answer of the modality that the cue in the picture names.

    A logistic regression reads the cue: it is fitted to the pictures of those training samples on which exactly
    one modality is right, which are the samples whose cue is evident.
    """
    from sklearn.linear_model import LogisticRegression

    opinions, labels = material.opinions("train"), material.split("train").labels
    heard, seen = (opinions[name].argmax(1) == labels for name in ("audio", "visual"))
    evident = heard != seen
    if len(set(heard[evident])) < 2:
        raise UserError(
            f"baseline {material.cell.row.name}: the training samples do not show which modality counts"
        )

    def pictures(split: str, condition: Disturbance = CLEAN) -> np.ndarray:
        inputs = material.inputs(split, condition)["visual"]
        return inputs.reshape(len(inputs), -1).astype(np.float64)

    reader = LogisticRegression(max_iter=300).fit(pictures("train")[evident], heard[evident])

    def answer(condition: Disturbance) -> np.ndarray:
        cue = reader.predict_proba(pictures("test", condition))[:, 1]
        return rules.select(**material.opinions("test", condition), cue=cue)

    return answer
