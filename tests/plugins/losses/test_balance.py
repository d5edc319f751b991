"""The balance of two modalities, against its sum by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from loss_cases import K, build, draw, leaves, seeds, targets

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.plugins.losses.balance import Balance
from scmrl_plugins.plugins.losses.cross_entropy import CrossEntropy
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()


@settings(max_examples=30, deadline=None)
@given(target=targets, seed=seeds)
def test_balance_is_the_sum(target: list[int], seed: int) -> None:
    output = draw(target, seed)
    total = 0.0
    for name in ("audio", "visual"):
        logits, share = output.aux_logits[name].numpy(), output.shares[name].numpy()
        total -= sum((1 - share[i]) * log_softmax(logits[i])[label] for i, label in enumerate(target))
    loss = build(Balance).eval()(output, torch.tensor(target))
    assert loss.item() == pytest.approx(total / len(target), abs=1e-11)


@pytest.mark.parametrize("training", [True, False])
def test_balance_of_equal_shares_is_half_of_both_heads(training: bool) -> None:
    y = torch.tensor([0, 4, 2, 2])
    output = draw(y.tolist(), 5)
    output.shares = {name: torch.full((4,), 0.5, dtype=torch.float64) for name in ("audio", "visual")}
    ce = build(CrossEntropy).train(training)
    halves = [ce(ModelOutput(logits), y) / 2 for logits in output.aux_logits.values()]
    torch.testing.assert_close(build(Balance).train(training)(output, y), torch.stack(halves).sum())


def test_balance_slows_the_dominant_modality_and_leaves_shares_alone() -> None:
    y = torch.tensor([0, 4, 2, 2])
    output, _ = leaves(draw(y.tolist(), 5), torch.float64)
    logits = {name: torch.zeros(4, K, requires_grad=True) for name in ("audio", "visual")}
    shares = {"audio": torch.full((4,), 0.8, requires_grad=True), "visual": torch.full((4,), 0.2)}
    build(Balance)(ModelOutput(output.logits, logits, shares=shares), y).backward()
    torch.testing.assert_close(logits["visual"].grad, 4 * logits["audio"].grad)
    assert logits["audio"].grad.any()
    assert shares["audio"].grad is None


@pytest.mark.parametrize("missing", ["shares", "heads"])
def test_balance_says_which_fusion_gives_what_is_missing(missing: str) -> None:
    output = draw([0, 1], 0)
    output.shares = {} if missing == "shares" else output.shares
    output.aux_logits = {"audio": output.logits} if missing == "heads" else output.aux_logits
    with pytest.raises(UserError, match=rf"'balance' needs {missing}.*fusion 'taaf'"):
        build(Balance)(output, torch.tensor([0, 1]))
