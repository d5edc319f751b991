"""One step of the optimizer, used alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Batch, training_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.training.step import Step

Small = Callable[..., Assembly]


def batches(parts: Assembly) -> list[Batch]:
    loader, _ = training_loader([load_splits(parts.dataset, parts.config)["train"]], parts.config)
    return list(loader)


def weights(parts: Assembly) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parts.model.parameters()]


def test_a_step_returns_the_sums_over_its_samples(small: Small) -> None:
    parts = small(sets=["train.batch_size=16"])
    batch = batches(parts)[0]
    expected, terms = parts.loss(parts.model(batch["audio"], batch["visual"]), batch["label"])
    before = weights(parts)
    result = Step(parts.model, parts.loss, torch.optim.SGD(parts.model.parameters(), 0.1))([batch])
    assert (result.samples, result.not_finite) == (16, "")
    assert result.loss == pytest.approx(expected.item())
    assert {name: value / 16 for name, value in result.term_sums.items()} == pytest.approx(
        {name: term.item() for name, term in terms.items()}
    )
    assert result.correct in range(17)
    assert result.gradient_norm is not None
    assert result.gradient_norm > 0
    assert any(not torch.equal(one, other) for one, other in zip(before, weights(parts), strict=True))


def test_batches_count_by_their_samples(small: Small) -> None:
    parts = small(sets=["train.batch_size=20"])
    three = batches(parts)
    step = Step(parts.model.eval(), parts.loss.eval(), torch.optim.SGD(parts.model.parameters(), 0.0))
    alone = [step([batch]) for batch in three]
    together = step(three)
    assert [result.samples for result in alone] == [20, 20, 8]
    assert together.samples == 48
    assert together.loss == pytest.approx(sum(result.loss * result.samples for result in alone) / 48)
    assert together.correct == sum(result.correct for result in alone)


@pytest.mark.parametrize("second", [False, True])
def test_a_step_that_is_not_finite_leaves_the_weights(small: Small, second: bool) -> None:
    parts = small(sets=["train.batch_size=16"])
    good, bad, _ = batches(parts)
    bad["audio"] = bad["audio"] * float("nan")
    before = weights(parts)
    step = Step(parts.model, parts.loss, torch.optim.SGD(parts.model.parameters(), 0.1))
    result = step([good, bad] if second else [bad])
    assert result.not_finite
    assert all(torch.equal(one, other) for one, other in zip(before, weights(parts), strict=True))
    assert all(parameter.grad is None for parameter in parts.model.parameters())
