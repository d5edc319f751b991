"""Statistics of accuracies: intervals and paired differences clustered by group, and Holm's correction.

Samples of one speaker or recording resemble one another, so n samples of G groups say less than n independent
ones: the group is the unit of sampling. With a mean y over n samples, and e_g the sum of (y_i - y) within a group,

    var(y) = G / (G - 1) sum_g e_g^2 / n^2        (for groups of one size, the variance of their means, over G)

and Student's t with G - 1 degrees of freedom replaces the normal distribution. Intervals are over the choice of
groups, for the models that were trained: several seeds are averaged, not sampled from.

Sources: Kish, Survey Sampling (1965), for the design effect. Cameron and Miller, J. Human Resources 50 (2015)
317-372, for t and against the bootstrap with few groups. Franco, Little, Louis and Slud, J. Survey Statistics and
Methodology 7 (2019) 334-364, for Wilson's interval with the effective sample size. Holm, Scandinavian J.
Statistics 6 (1979) 65-70. Coverage is measured in ``tests/core/evaluation/test_statistics.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scmrl_plugins.registry import UserError

LEVEL = 0.95
"""The share of intervals that contain the true value."""


@dataclass(frozen=True)
class Scores:
    """One evaluation by sample: ids, classes, whether the prediction is right (0, 1, or between), and groups.

    ``groups`` is empty where samples are independent of one another.
    """

    ids: Sequence[str]
    targets: Sequence[int]
    hits: np.ndarray
    groups: Sequence[str] = ()


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` samples of ``clusters`` groups (none: independent samples), and its interval.

    ``design_effect``: by what factor the groups increase the variance; n / design_effect independent samples
    would say as much.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int | None = None
    design_effect: float = 1.0


@dataclass(frozen=True)
class Difference(Interval):
    """The mean difference of two methods on the same samples; ``p`` of no difference, two-sided."""

    p: float = field(kw_only=True)


def accuracy_interval(*runs: Scores, level: float = LEVEL) -> Interval:
    """The accuracy over all samples of one or several evaluations, and its interval.

    Wilson's score interval, with the effective sample size n / max(1, design effect) and t instead of the normal
    quantile where samples have groups. In several evaluations, such as folds and seeds, a sample without a group
    is a group of its own. Raises ``UserError`` for a single group, which has no spread.
    """
    hits, clusters = np.concatenate([run.hits for run in runs]).astype(float), _clusters(runs)
    n, p = len(hits), float(hits.mean())
    if clusters is None:
        low, high = _wilson(p, n, _normal((1 + level) / 2))
        return Interval(p, low, high, n)
    variance, count = _clustered(hits, clusters)
    simple = p * (1 - p) / n
    effect = variance / simple if simple else 1.0
    low, high = _wilson(p, n / max(1.0, effect), _t(count, level))
    return Interval(p, low, high, n, count, effect)


def paired_difference(first: Sequence[Scores], second: Sequence[Scores], *, level: float = LEVEL) -> Difference:
    """The accuracy of one method minus that of another, over the same evaluations, such as folds and seeds.

    Differences are taken by sample and clustered by group, without groups by sample; a t-test and its interval.
    ``second[k]`` is of the same samples as ``first[k]``, in any order; raises ``UserError`` where it is not, and
    for a single group.
    """
    if len(first) != len(second):
        raise UserError(
            f"{len(first)} evaluations of one method cannot be paired with {len(second)} of another: give those "
            f"of the same folds and seeds"
        )
    differences = np.concatenate([a.hits - _aligned(a, b) for a, b in zip(first, second, strict=True)])
    clusters = _clusters(first)
    if clusters is None:
        clusters = list(first[0].ids)
    value, n = float(differences.mean()), len(differences)
    variance, count = _clustered(differences, clusters)
    error = math.sqrt(variance)
    p = 2 * _t_tail(abs(value) / error, count - 1) if error else float(value == 0)
    margin = _t(count, level) * error
    simple = float(differences.var()) / n
    effect = variance / simple if simple else 1.0
    return Difference(value, value - margin, value + margin, n, count, effect, p=p)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P values by comparison, corrected for their number by Holm's step-down method.

    The i-th smallest of m becomes max_{j <= i} min(1, (m - j + 1) p_j): rejecting what is below a level, the
    probability of any false rejection is at most that level, whatever the dependence.
    """
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def _clusters(runs: Sequence[Scores]) -> list[str] | None:
    """The group of every sample of several evaluations, or its id; none for independent samples."""
    if all(len(run.groups) for run in runs):
        return [group for run in runs for group in run.groups]
    if any(len(run.groups) for run in runs):
        raise UserError("some evaluations have groups and others none: evaluate all with the same group columns")
    return [name for run in runs for name in run.ids] if len(runs) > 1 else None


def _clustered(values: np.ndarray, clusters: Iterable[str]) -> tuple[float, int]:
    """The variance of the mean of values in clusters, and the number of clusters."""
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    count = len(names)
    if count < 2:
        raise UserError(f"all samples are of one group, {str(names[0])!r}: an interval needs at least two")
    sums = np.bincount(index, weights=values - values.mean())
    return float(count / (count - 1) * np.square(sums).sum() / len(values) ** 2), count


def _t(count: int, level: float) -> float:
    from scipy import special

    return float(special.stdtrit(count - 1, (1 + level) / 2))


def _t_tail(value: float, degrees: int) -> float:
    """P(t > value) of Student's t. Not of scipy.stats, which takes half a second to import."""
    from scipy import special

    return float(special.stdtr(degrees, -value))


def _normal(share: float) -> float:
    """The quantile of the standard normal distribution."""
    from scipy import special

    return float(special.ndtri(share))


def _wilson(p: float, n: float, quantile: float) -> tuple[float, float]:
    """(p + q^2 / 2n -+ q sqrt(p (1 - p) / n + q^2 / 4n^2)) / (1 + q^2 / n), q the quantile."""
    scale = 1 + quantile**2 / n
    centre = (p + quantile**2 / (2 * n)) / scale
    margin = quantile * math.sqrt(p * (1 - p) / n + quantile**2 / (4 * n**2)) / scale
    return max(0.0, centre - margin), min(1.0, centre + margin)


def _aligned(first: Scores, second: Scores) -> np.ndarray:
    """The hits of the second evaluation in the order of the first; ``UserError`` where samples differ."""
    position = {name: index for index, name in enumerate(second.ids)}
    for scores in (first, second):
        if len(set(scores.ids)) < len(scores.ids):
            twice = next(name for name in scores.ids if list(scores.ids).count(name) > 1)
            raise UserError(f"sample {twice!r} occurs twice in an evaluation, so it cannot be paired")
    for ids, others, which in ((first.ids, set(second.ids), "first"), (second.ids, set(first.ids), "second")):
        if missing := [name for name in ids if name not in others]:
            raise UserError(
                f"evaluations of different samples cannot be paired: {len(missing)} are only in the {which}, such "
                f"as {missing[0]!r}; evaluate both on the same split"
            )
    order = [position[name] for name in first.ids]
    for what, a, b in (("class", first.targets, second.targets), ("group", first.groups, second.groups)):
        ordered = [b[index] for index in order] if len(b) else []
        if list(a) != ordered:
            raise UserError(f"evaluations cannot be paired: the {what} of a sample differs between them")
    return np.asarray(second.hits, dtype=float)[order]
