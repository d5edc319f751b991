"""Temporal efficient training, against its sum by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import K, build, draw, seeds, targets

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.plugins.losses.cross_entropy import CrossEntropy
from scmrl_plugins.plugins.losses.tet import TemporalEfficientTraining

pytestmark = pytest.mark.numerical


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()


@settings(max_examples=30, deadline=None)
@given(target=targets, seed=seeds, steps=st.integers(1, 4), lamb=st.sampled_from([0.0, 0.05, 1.0]))
def test_tet_is_the_sum(target: list[int], seed: int, steps: int, lamb: float) -> None:
    output = draw(target, seed, steps)
    logits = output.step_logits.numpy()
    entropy = [-log_softmax(logits[t, i])[label] for t in range(steps) for i, label in enumerate(target)]
    expected = (1 - lamb) * np.mean(entropy) + lamb * np.mean((logits - 0.7) ** 2)
    loss = build(TemporalEfficientTraining, lamb=lamb, means=0.7).eval()
    assert loss(output, torch.tensor(target)).item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("training", [True, False])
def test_tet_of_equal_steps_is_ce(training: bool) -> None:
    y = torch.tensor([0, 4, 2, 2])
    logits = draw([0] * 4, 3).logits
    output = ModelOutput(logits, step_logits=logits.expand(6, 4, K))
    tet, ce = (
        build(cls, label_smoothing=0.2).train(training) for cls in (TemporalEfficientTraining, CrossEntropy)
    )
    torch.testing.assert_close(tet(output, y), ce(output, y))


def test_tet_is_no_less_than_ce_of_the_mean() -> None:
    """Jensen: the logarithm of a softmax is concave in the logits."""
    y = torch.tensor([0, 4, 2, 2])
    output = draw(y.tolist(), 5)
    assert build(TemporalEfficientTraining)(output, y) > build(CrossEntropy, heads=False)(output, y)
