"""One step of the optimizer, used alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scmrl_plugins.core.data.loading import Batch, training_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.training.step import Plain, Step

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


class Scaled(Plain):
    """What accelerate does in half precision, with gradients that overflow from a given scale of the loss."""

    def __init__(self, optimizer: torch.optim.Optimizer, overflows_from: float) -> None:
        self.scaler: Any = torch.amp.GradScaler("cpu", init_scale=8.0)
        self.optimizer, self.overflows_from = optimizer, overflows_from
        self.step_was_skipped = False

    def backward(self, loss: Tensor) -> None:
        factor = float("inf") if self.scaler.get_scale() >= self.overflows_from else 1.0
        self.scaler.scale(loss * factor).backward()

    def clip_grad_norm_(self, parameters: Iterable[Tensor], largest: float) -> Tensor:
        self.scaler.unscale_(self.optimizer)
        return nn.utils.clip_grad_norm_(parameters, largest)

    def step(self) -> None:
        before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step_was_skipped = self.scaler.get_scale() < before

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()


@pytest.mark.parametrize("clip_grad", [None, 1.0])
def test_an_overflow_in_half_precision_lowers_the_scale(small: Small, clip_grad: float | None) -> None:
    parts = small(sets=["train.batch_size=16"])
    batch = batches(parts)[0]
    scaled = Scaled(torch.optim.SGD(parts.model.parameters(), 0.1), overflows_from=4)
    step = Step(parts.model, parts.loss, scaled, clip_grad=clip_grad, accelerator=scaled)  # type: ignore[arg-type]
    before = weights(parts)
    for scale in (4, 2):
        result = step([batch])
        assert (result.not_finite, result.gradient_norm, scaled.scaler.get_scale()) == ("", None, scale)
        assert all(torch.equal(one, other) for one, other in zip(before, weights(parts), strict=True))
    assert not step([batch]).not_finite
    assert any(not torch.equal(one, other) for one, other in zip(before, weights(parts), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("clip_grad", [None, 1.0])
def test_a_gradient_that_no_scale_makes_finite_is_reported(small: Small, clip_grad: float | None) -> None:
    parts = small(sets=["train.batch_size=16"])
    scaled = Scaled(torch.optim.SGD(parts.model.parameters(), 0.1), overflows_from=0)
    step = Step(parts.model, parts.loss, scaled, clip_grad=clip_grad, accelerator=scaled)  # type: ignore[arg-type]
    found = [step([batches(parts)[0]]).not_finite for _ in range(4)]
    assert found[:3] == [""] * 3
    assert found[3] == "the gradient is not finite, although the loss is scaled by 0.5 only"
