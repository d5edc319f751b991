"""What the contrastive losses share, against sums written out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import K, aligned, build, draw, seeds, targets
from torch import Tensor

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.plugins.losses.infonce import InfoNCE
from scmrl_plugins.plugins.losses.sao import SemanticAlignment
from scmrl_plugins.plugins.losses.similarity import EPS, normalise
from scmrl_plugins.plugins.losses.supcon import SupervisedContrast
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


CONTRASTIVE = [SemanticAlignment, InfoNCE, SupervisedContrast]


SYMMETRIC = [InfoNCE, SupervisedContrast]


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()


def unit(x: Tensor) -> np.ndarray:
    mean = x.mean(0).numpy()
    return np.stack([row / math.sqrt((row**2).sum() + EPS**2) for row in mean])


def contrast(anchors: np.ndarray, others: np.ndarray, positives: list[list[int]], temperature: float) -> float:
    total = 0.0
    for i, of_i in enumerate(positives):
        log_p = log_softmax(np.array([anchors[i] @ other for other in others]) / temperature)
        total -= sum(log_p[p] for p in of_i) / len(of_i)
    return total / len(positives)


def both_ways(output: ModelOutput, positives: list[list[int]], temperature: float) -> float:
    a, v = unit(output.aligned["audio"]), unit(output.aligned["visual"])
    return (contrast(a, v, positives, temperature) + contrast(v, a, positives, temperature)) / 2


@settings(max_examples=40, deadline=None)
@given(target=targets, seed=seeds, temperature=st.sampled_from([0.07, 0.5, 1.0]))
def test_infonce_and_supcon_are_the_sums(target: list[int], seed: int, temperature: float) -> None:
    output, y = draw(target, seed), torch.tensor(target)
    own = [[i] for i in range(len(target))]
    of_class = [[j for j, other in enumerate(target) if other == label] for label in target]
    infonce = build(InfoNCE, temperature=temperature)(output, y)
    assert infonce.item() == pytest.approx(both_ways(output, own, temperature), abs=1e-11)
    supcon = build(SupervisedContrast, temperature=temperature)(output, y)
    assert supcon.item() == pytest.approx(both_ways(output, of_class, temperature), abs=1e-11)
    assert infonce.item() >= 0
    assert supcon.item() >= 0


@pytest.mark.parametrize("cls", SYMMETRIC)
@settings(max_examples=20, deadline=None)
@given(target=targets, seed=seeds)
def test_neither_modality_comes_first(cls: Any, target: list[int], seed: int) -> None:
    output, y = draw(target, seed), torch.tensor(target)
    swapped = aligned(output.aligned["visual"], output.aligned["audio"])
    torch.testing.assert_close(build(cls)(output, y), build(cls)(swapped, y))


@pytest.mark.parametrize("cls", SYMMETRIC)
def test_the_size_of_a_feature_does_not_matter(cls: Any) -> None:
    target = [0, 1, 1, 2]
    output, y = draw(target, 0), torch.tensor(target)
    louder = aligned(10 * output.aligned["audio"], 3 * output.aligned["visual"])
    torch.testing.assert_close(build(cls)(louder, y), build(cls)(output, y), rtol=1e-3, atol=0)


@pytest.mark.parametrize("cls", CONTRASTIVE)
def test_contrast_pulls_partners_together(cls: Any) -> None:
    matching, clashing = torch.eye(2).unsqueeze(0), torch.eye(2).flip(0).unsqueeze(0)
    y = torch.tensor([0, 1])
    assert build(cls)(aligned(matching, matching), y) < build(cls)(aligned(matching, clashing), y)


@pytest.mark.parametrize("cls", CONTRASTIVE)
@pytest.mark.parametrize("silent", ["all", "one"])
def test_silent_residuals_have_ordinary_gradients(cls: Any, silent: str) -> None:
    audio, visual = torch.rand(3, 4, 8), torch.rand(3, 4, 8)
    audio[:, : 4 if silent == "all" else 1] = 0
    visual[:, : 4 if silent == "all" else 1] = 0
    audio.requires_grad_()
    visual.requires_grad_()
    loss = build(cls)(aligned(audio, visual), torch.tensor([0, 1, 1, 2]))
    loss.backward()
    assert loss.isfinite()
    for x in (audio, visual):
        assert x.grad.abs().max() < 1e4  # of torch's own normalisation it would be 1e12


def test_normalise_keeps_silence_and_is_near_one_above() -> None:
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [3.0, 4.0]], dtype=torch.float64)
    norms = normalise(x).norm(dim=1)
    assert norms[0] == 0
    assert 0.99 < norms[1] < norms[2] < 1


@pytest.mark.parametrize("cls", CONTRASTIVE)
@pytest.mark.parametrize("given", [None, {}, {"audio": torch.zeros(2, 3, 8)}])
def test_contrast_without_residuals_is_refused(cls: Any, given: dict[str, Tensor] | None) -> None:
    with pytest.raises(UserError, match=r"residuals.*choose a fusion such as 'cmrl'"):
        build(cls)(ModelOutput(torch.zeros(3, K), aligned=given), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("cls", CONTRASTIVE)
def test_many_dimensions_do_not_overflow_in_half(cls: Any) -> None:
    """8192 / 0.07 is beyond float16's 65504."""
    audio = torch.ones(4, 3, 8192, dtype=torch.float16, requires_grad=True)
    visual = torch.ones(4, 3, 8192, dtype=torch.float16)
    visual[:, 0, ::2] = 0
    for mixed in (False, True):
        with torch.autocast("cpu", dtype=torch.float16, enabled=mixed):
            loss = build(cls)(aligned(audio, visual), torch.tensor([0, 1, 1]))
        (gradient,) = torch.autograd.grad(loss, audio)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    single = build(cls)(aligned(audio.detach().float(), visual.float()), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(loss, single)
