"""The supervised contrast: InfoNCE for distinct labels, a guess within a class."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import K, aligned, build, draw, seeds

from scmrl_plugins.plugins.losses.infonce import InfoNCE
from scmrl_plugins.plugins.losses.supcon import SupervisedContrast

pytestmark = pytest.mark.numerical


SYMMETRIC = [InfoNCE, SupervisedContrast]


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(K)), seed=seeds, temperature=st.sampled_from([0.07, 1.0]))
def test_supcon_of_distinct_labels_is_infonce(order: list[int], seed: int, temperature: float) -> None:
    output, y = draw(order, seed), torch.tensor(order)
    infonce, supcon = (build(cls, temperature=temperature)(output, y) for cls in SYMMETRIC)
    torch.testing.assert_close(supcon, infonce)


def test_supcon_of_clusters_is_the_guess_within_a_class() -> None:
    """Three of a class at one place, far from the other class: each is one of three."""
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    features = torch.eye(2, dtype=torch.float64)[y].unsqueeze(0)
    loss = build(SupervisedContrast, temperature=0.02)(aligned(features, features), y)
    assert loss.item() == pytest.approx(math.log(3))
