"""Intervals and tests: textbook values, scipy's where groups do not matter, and coverage in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scmrl_plugins.core.evaluation.statistics import Scores, accuracy_interval, holm, paired_difference
from scmrl_plugins.registry import UserError


def scores(hits: np.ndarray, groups: list[str] | None = None, prefix: str = "") -> Scores:
    ids = [f"{prefix}{index}" for index in range(len(hits))]
    return Scores(ids, [0] * len(hits), np.asarray(hits, dtype=float), groups or [])


def grouped(means: np.ndarray, size: int) -> Scores:
    """Groups of one size with the given shares of hits."""
    hits = np.concatenate([np.arange(size) < round(mean * size) for mean in means])
    return scores(hits, [f"group {index // size}" for index in range(len(hits))])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.data())
def test_without_groups_it_is_wilsons_interval(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    interval = accuracy_interval(scores(np.arange(n) < k))
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert (interval.value, interval.n, interval.clusters) == (k / n, n, None)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_design_effect_is_that_of_kish() -> None:
    """Six speakers of a hundred clips: 1 + (m - 1) ICC, with the ICC of a one-way analysis of variance."""
    means, m = np.array([0.99, 0.97, 0.96, 0.93, 0.90, 0.85]), 100
    interval = accuracy_interval(grouped(means, m))
    p = means.mean()
    between, within = m * means.var(ddof=1), (means * (1 - means)).mean() * m / (m - 1)
    icc = (between - within) / (between + (m - 1) * within)
    assert interval.clusters == 6
    assert interval.design_effect == pytest.approx(means.var(ddof=1) / 6 / (p * (1 - p) / 600))
    assert interval.design_effect == pytest.approx(1 + (m - 1) * icc, rel=0.05)
    assert interval.low < p < interval.high
    independent = accuracy_interval(scores(np.concatenate([np.arange(m) < round(mean * m) for mean in means])))
    assert interval.high - interval.low > 2.5 * (independent.high - independent.low)


@pytest.mark.parametrize(
    ("count", "size", "p", "spread"), [(6, 100, 0.9, 0.03), (12, 50, 0.95, 0.03), (30, 20, 0.8, 0.07)]
)
def test_intervals_cover_the_truth_as_often_as_they_say(count: int, size: int, p: float, spread: float) -> None:
    """Accuracies of speakers from a beta distribution with that intra-class correlation."""
    rng = np.random.default_rng(0)
    shape, repeats = 1 / spread - 1, 500
    groups = np.repeat(np.arange(count), size)
    covered, naive = 0, 0
    for chances in rng.beta(p * shape, (1 - p) * shape, (repeats, count)):
        hits = rng.random(count * size) < chances[groups]
        interval, independent = (accuracy_interval(Scores([], [], hits, by)) for by in (groups, ()))
        covered += interval.low <= p <= interval.high
        naive += independent.low <= p <= independent.high
    # The standard deviation of a coverage of 95 % over 500 intervals is 1 point.
    assert 0.92 <= covered / repeats <= 0.98
    assert naive / repeats < 0.88


def test_a_paired_difference_is_the_paired_t_test_of_the_speakers() -> None:
    """Student's sleep data (1908), in hundredths of a clip: t = -4.0621, 9 degrees of freedom, p = 0.002833."""
    drug = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]) / 10 + 0.4
    other = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]) / 10 + 0.4
    found = paired_difference([grouped(drug, 100)], [grouped(other, 100)])
    assert found.value == pytest.approx(-0.158)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-0.24599, -0.07001), abs=1e-5)
    assert (found.n, found.clusters) == (1000, 10)
    back = paired_difference([grouped(other, 100)], [grouped(drug, 100)])
    assert (back.value, back.low, back.p) == pytest.approx((-found.value, -found.high, found.p))


def test_a_difference_without_groups_is_the_t_test_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (2, 200))
    expected = stats.ttest_rel(a, b)
    found = paired_difference([scores(a)], [scores(b)])
    low, high = expected.confidence_interval()
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high))


def test_folds_and_seeds_are_pooled_by_speaker() -> None:
    """A second seed with the same predictions adds nothing; folds add their speakers."""
    rng = np.random.default_rng(2)
    groups = [f"s{index // 10}" for index in range(60)]
    folds = [[scores(rng.random(60) < share, groups, fold) for share in (0.9, 0.7)] for fold in "ab"]
    once = paired_difference([folds[0][0]], [folds[0][1]])
    twice = paired_difference([folds[0][0]] * 2, [folds[0][1]] * 2)
    assert (twice.value, twice.low, twice.p, twice.clusters) == pytest.approx((once.value, once.low, once.p, 6))
    others = [Scores(one.ids, one.targets, one.hits, [f"t{group}" for group in groups]) for one in folds[1]]
    both = paired_difference([folds[0][0], others[0]], [folds[0][1], others[1]])
    assert both.clusters == 12
    assert both.n == 120
    # Without groups, the samples of two seeds are each a cluster.
    plain = scores(rng.random(50) < 0.8)
    assert accuracy_interval(plain, plain).clusters == 50
    assert accuracy_interval(plain, plain).design_effect == pytest.approx(2 * 50 / 49)


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    """Two equal methods, whose speakers differ in which of the two suits them."""
    rng = np.random.default_rng(3)
    groups, alarms = [f"s{index // 20}" for index in range(240)], 0
    for _ in range(300):
        shift = np.repeat(rng.normal(0, 0.1, 12), 20)
        a, b = rng.random((2, 240)) < 0.8 + np.stack([shift, -shift])
        alarms += paired_difference([scores(a, groups)], [scores(b, groups)]).p < 0.05
    assert 0.015 <= alarms / 300 <= 0.09  # the standard deviation is 1.3 points


def test_the_order_of_the_samples_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    groups = [f"s{index // 5}" for index in range(40)]
    a, b = scores(rng.random(40) < 0.8, groups), scores(rng.random(40) < 0.6, groups)
    order = rng.permutation(40)
    mixed = Scores([b.ids[i] for i in order], [0] * 40, b.hits[order], [groups[i] for i in order])
    assert paired_difference([a], [mixed]) == paired_difference([a], [b])


def test_equal_predictions_do_not_differ() -> None:
    one = grouped(np.array([0.5, 0.9]), 10)
    found = paired_difference([one], [one])
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_what_cannot_be_paired_is_refused() -> None:
    one = grouped(np.array([0.5, 0.9, 1.0]), 4)
    cases = {
        "12 are only in the first, such as '0'": scores(np.ones(12), list(one.groups), "other "),
        "4 are only in the first, such as '8'": Scores(one.ids[:8], one.targets[:8], one.hits[:8], one.groups[:8]),
        "sample '0' occurs twice": Scores(["0", *one.ids[:11]], one.targets, one.hits, one.groups),
        "the class of a sample differs": Scores(one.ids, [1] * 12, one.hits, one.groups),
        "the group of a sample differs": Scores(one.ids, one.targets, one.hits, one.groups[::-1]),
    }
    for says, other in cases.items():
        with pytest.raises(UserError, match=says):
            paired_difference([one], [other])
    with pytest.raises(UserError, match="1 evaluations of one method cannot be paired with 2"):
        paired_difference([one], [one, one])
    with pytest.raises(UserError, match="all samples are of one group, 'group 0'"):
        accuracy_interval(grouped(np.array([0.5]), 10))
    with pytest.raises(UserError, match="some evaluations have groups"):
        accuracy_interval(one, scores(np.ones(3)))


def test_holms_correction() -> None:
    """Four hypotheses by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and no less than the one before."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
