"""Who carries the accuracy: each modality alone, left out, and its Shapley share.

With v(S) the accuracy with the modalities in S, the others replaced by the data set's silence or black, and v of
none the accuracy of always guessing the most frequent class, the share of a modality m of M is

    phi(m) = sum over S without m of |S|! (M - |S| - 1)! / M! (v(S + m) - v(S))

The shares add up to v(all) - v(none). Source: Shapley, Contributions to the Theory of Games II (1953) 307-317.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.evaluation.statistics import Interval, paired_difference

Modalities = frozenset[str]
T = TypeVar("T", float, np.ndarray)


@dataclass(frozen=True)
class Carried:
    """Predictions by the set of modalities that the model was given."""

    given: Mapping[Modalities, Predictions]
    modalities: tuple[str, ...]

    @property
    def complete(self) -> Predictions:
        """With all modalities."""
        return self.given[frozenset(self.modalities)]

    @property
    def baseline(self) -> float:
        """The accuracy at the level of chance: of always guessing the most frequent class."""
        counts = Counter(self.complete.targets.tolist())
        return max(counts.values()) / len(self.complete)

    def accuracy(self, *modalities: str) -> float:
        """With these modalities, the others missing; the baseline without any."""
        return accuracy(self.given[frozenset(modalities)]) if modalities else self.baseline

    def without(self, modality: str) -> float:
        """With this modality missing."""
        return self.accuracy(*(name for name in self.modalities if name != modality))

    @property
    def shares(self) -> dict[str, float]:
        """The Shapley share of each modality."""
        return shapley(self.modalities, lambda given: self.accuracy(*given))

    @property
    def intervals(self) -> dict[str, Interval]:
        """The share of each modality with its interval, clustered by group; for the baseline that the split has.

        By sample the share is the same sum, of hits instead of accuracies. Raises ``UserError`` where all samples
        are of one group.
        """
        n = len(self.complete)
        scores = replace(self.complete.scores, ids=[str(index) for index in range(n)])

        def hits(given: Modalities) -> np.ndarray:
            return self.given[given].scores.hits if given else np.full(n, self.baseline)

        none = replace(scores, hits=np.zeros(n))
        return {
            name: paired_difference([replace(scores, hits=share)], [none])
            for name, share in shapley(self.modalities, hits).items()
        }

    def per_class(self, *modalities: str) -> list[float | None]:
        """The accuracy of each class with these modalities; none for a class without a sample."""
        predictions = self.given[frozenset(modalities)]
        return [
            float((predictions.predicted[mask] == index).float().mean()) if mask.any() else None
            for index in range(len(predictions.classes))
            for mask in [predictions.targets == index]
        ]


def accuracy(predictions: Predictions) -> float:
    """The share of right predictions."""
    return float(predictions.scores.hits.mean())


def carried(modalities: Sequence[str], predicted: Callable[[Disturbance], Predictions]) -> Carried:
    """``predicted(disturbance)``, a model's predictions for a split, with every set of its modalities but none."""
    given = {}
    for present in subsets(modalities):
        if present:
            dropped: Any = tuple(name for name in modalities if name not in present)
            given[present] = predicted(Disturbance(dropped=dropped))
    return Carried(given, tuple(modalities))


def shapley(players: Sequence[str], value: Callable[[Modalities], T]) -> dict[str, T]:
    """The Shapley value of each player in the game ``value``, of numbers or arrays."""
    count = len(players)
    shares: dict[str, Any] = {}
    for player in players:
        others = [name for name in players if name != player]
        shares[player] = sum(
            math.factorial(len(group))
            * math.factorial(count - len(group) - 1)
            / math.factorial(count)
            * (value(group | {player}) - value(group))
            for group in subsets(others)
        )
    return shares


def subsets(names: Sequence[str]) -> Iterator[Modalities]:
    """All subsets, the smaller ones first."""
    for size in range(len(names) + 1):
        yield from map(frozenset, itertools.combinations(names, size))
