"""The semantic alignment loss, against its double sum."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, ModelOutput
from scmrl_plugins.plugins.losses.sao import SemanticAlignment
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


CONTEXT = Context(3, 8, 1, 4, 5, {"audio": 1, "visual": 1}, neuron=torch.nn.Identity)


def sao(**config: Any) -> SemanticAlignment:
    return SemanticAlignment(SemanticAlignment.Config(**config), CONTEXT)


def output(audio: Tensor, visual: Tensor) -> ModelOutput:
    return ModelOutput(torch.zeros(audio.shape[1], 5), aligned={"audio": audio, "visual": visual})


def by_hand(audio: Tensor, visual: Tensor, target: list[int], temperature: float) -> float:
    a, v = audio.mean(0).tolist(), visual.mean(0).tolist()
    n, total = len(target), 0.0
    for i in range(n):
        scores = [math.fsum(x * y for x, y in zip(a[i], v[j], strict=True)) / temperature for j in range(n)]
        top = max(scores)
        normaliser = top + math.log(math.fsum(math.exp(score - top) for score in scores))
        total += math.fsum(scores[j] - normaliser for j in range(n) if target[i] == target[j])
    return -total / n**2


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=40, deadline=None)
@given(
    target=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    steps=st.integers(1, 4),
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.07, 0.08, 1.0]),
)
def test_sao_is_the_double_sum(target: list[int], steps: int, seed: int, temperature: float) -> None:
    audio, visual = draw(steps, len(target), 8, seed=seed), draw(steps, len(target), 8, seed=seed + 1)
    loss = sao(temperature=temperature)(output(audio, visual), torch.tensor(target))
    assert loss.item() == pytest.approx(by_hand(audio, visual, target, temperature), abs=1e-11)
    assert loss.item() >= 0


def test_sao_of_one_class_counts_every_pair() -> None:
    audio, visual = torch.zeros(2, 4, 8), torch.zeros(2, 4, 8)
    loss = sao()(output(audio, visual), torch.zeros(4, dtype=torch.long))
    assert loss.item() == pytest.approx(math.log(4))


def test_sao_of_one_sample_is_zero_with_zero_gradient() -> None:
    audio = draw(2, 1, 8, seed=0).requires_grad_()
    loss = sao()(output(audio, draw(2, 1, 8, seed=1)), torch.tensor([3]))
    loss.backward()
    assert loss.item() == 0
    assert audio.grad.count_nonzero() == 0


def test_sao_looks_from_audio_to_vision_only() -> None:
    audio, visual = draw(2, 4, 8, seed=0), draw(2, 4, 8, seed=1)
    target = torch.tensor([0, 1, 1, 2])
    assert not torch.isclose(sao()(output(audio, visual), target), sao()(output(visual, audio), target))


def test_sao_does_not_normalise() -> None:
    audio, visual = draw(2, 4, 8, seed=0), draw(2, 4, 8, seed=1)
    target = torch.tensor([0, 1, 1, 2])
    assert not torch.isclose(sao()(output(2 * audio, visual), target), sao()(output(audio, visual), target))
    # Twice the features at four times the temperature is the same.
    twice = sao(temperature=0.28)(output(2 * audio, 2 * visual), target)
    torch.testing.assert_close(twice, sao()(output(audio, visual), target))


def test_sao_pulls_pairs_of_a_class_together() -> None:
    matching, clashing = torch.eye(2).unsqueeze(0), torch.eye(2).flip(0).unsqueeze(0)
    target = torch.tensor([0, 1])
    assert sao()(output(matching, matching), target) < sao()(output(matching, clashing), target)


@pytest.mark.parametrize("aligned", [None, {}, {"audio": torch.zeros(2, 3, 8)}])
def test_sao_without_residuals_says_so(aligned: dict[str, Tensor] | None) -> None:
    with pytest.raises(UserError, match="'sao'"):
        sao()(ModelOutput(torch.zeros(3, 5), aligned=aligned), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sao_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    """Spikes average to at most one in each of the 256 channels: the largest score is 256 / 0.07."""
    audio = torch.ones(4, 3, 256, dtype=dtype, requires_grad=True)
    visual = torch.ones(4, 3, 256, dtype=dtype)
    visual[:, 0] = 0
    loss = sao()(output(audio, visual), torch.tensor([0, 1, 1]))
    loss.backward()
    assert loss.isfinite()
    assert audio.grad.isfinite().all()
