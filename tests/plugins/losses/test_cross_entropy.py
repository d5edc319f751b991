"""Cross-entropy: smoothing in training, and further heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_cases import build
from loss_cases import draw as draw_output
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, ModelOutput
from scmrl_plugins.plugins.losses.cross_entropy import CrossEntropy

pytestmark = pytest.mark.numerical


CONTEXT = Context(3, 8, 1, 4, 5, {"audio": 1, "visual": 1}, neuron=torch.nn.Identity)


def ce(**config: Any) -> CrossEntropy:
    return CrossEntropy(CrossEntropy.Config(**config), CONTEXT)


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_ce_smooths_in_training_only() -> None:
    logits = draw(4, 5, seed=0)
    target = torch.tensor([0, 4, 2, 2])
    loss, log_p = ce(label_smoothing=0.2), logits.log_softmax(1)
    plain = -log_p[torch.arange(4), target].mean()
    smoothed = 0.8 * plain - 0.2 * log_p.mean(1).mean()
    loss.train()
    torch.testing.assert_close(loss(ModelOutput(logits), target), smoothed)
    loss.eval()
    torch.testing.assert_close(loss(ModelOutput(logits), target), plain)
    assert not torch.isclose(plain, smoothed)


def test_ce_adds_the_other_heads() -> None:
    logits = draw(3, 4, 5, seed=0)
    target = torch.tensor([0, 4, 2, 2])
    both = ce()(ModelOutput(logits[0], {"audio": logits[1], "visual": logits[2]}), target)
    alone = [ce()(ModelOutput(each), target) for each in logits]
    torch.testing.assert_close(both, torch.stack(alone).sum())


def test_ce_can_leave_the_heads_to_others() -> None:
    y = torch.tensor([0, 4, 2, 2])
    output = draw_output(y.tolist(), 5)
    alone = build(CrossEntropy)(ModelOutput(output.logits), y)
    torch.testing.assert_close(build(CrossEntropy, heads=False)(output, y), alone)
    assert build(CrossEntropy)(output, y) > alone
