"""The rules by which an answer follows from what each modality says: known truths, and sums over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.bench.accuracy.baselines import rules


def beliefs(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    audio, visual = (rng.dirichlet(np.full(classes, 0.3), size=n) for _ in range(2))
    return audio, visual


@given(seed=st.integers(0, 1000), n=st.integers(1, 5), classes=st.integers(2, 11))
def test_rules_are_sums_over_all_pairs(seed: int, n: int, classes: int) -> None:
    audio, visual = beliefs(seed, n, classes)
    joint = audio[:, :, None] * visual[:, None, :]
    heard, seen = np.indices((classes, classes))
    total = np.stack([joint[:, (heard + seen) % classes == k].sum(1) for k in range(classes)], axis=1)
    np.testing.assert_allclose(rules.total(audio, visual), total, atol=1e-9)
    both = joint[:, heard == seen].sum(1)
    np.testing.assert_allclose(rules.match(audio, visual), np.stack([1 - both, both], axis=1), atol=1e-12)
    for found in (rules.total(audio, visual), rules.same(audio, visual), rules.match(audio, visual)):
        np.testing.assert_allclose(found.sum(1), 1)
        assert (found >= 0).all()


def test_certain_opinions_give_certain_answers() -> None:
    said, shown = np.eye(10)[[3, 7, 4]], np.eye(10)[[3, 8, 6]]
    assert rules.total(said, shown).argmax(1).tolist() == [6, 5, 0]
    assert rules.match(said, shown).argmax(1).tolist() == [1, 0, 0]
    cue = np.array([1.0, 0.0, 1.0])
    assert rules.select(said, shown, cue).argmax(1).tolist() == [3, 8, 4]


def test_the_product_of_experts_is_the_posterior_of_independent_evidence() -> None:
    """Two readings of one class, each through its own noise: the rule gives what Bayes' theorem does."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(2, 4))
    label = rng.integers(4, size=300)
    x = centers[:, label] + rng.normal(size=(2, 300))
    density = np.exp(-0.5 * (x[:, :, None] - centers[:, None, :]) ** 2)
    audio, visual = (one / one.sum(1, keepdims=True) for one in density)
    posterior = density.prod(0)
    np.testing.assert_allclose(rules.same(audio, visual), posterior / posterior.sum(1, keepdims=True), atol=1e-9)


def test_opinions_that_exclude_each_other_give_no_preference() -> None:
    np.testing.assert_allclose(rules.same(np.eye(4)[[0]], np.eye(4)[[1]]), [[0.25] * 4])


@pytest.mark.parametrize("uniform", ["audio", "visual"])
def test_an_uninformed_modality_leaves_the_other_as_it_is(uniform: str) -> None:
    known, _ = beliefs(1, 6, 5)
    flat = np.full((6, 5), 0.2)
    given_ = {"audio": flat, "visual": known} if uniform == "audio" else {"audio": known, "visual": flat}
    np.testing.assert_allclose(rules.same(**given_), known, atol=1e-9)
    np.testing.assert_allclose(rules.total(**given_), flat, atol=1e-9)
    np.testing.assert_allclose(rules.match(**given_)[:, 1], 0.2)
