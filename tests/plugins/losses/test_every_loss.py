"""What holds for every loss: order, empty batches, single samples, half precision, settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import K, build, draw, leaves, seeds, targets
from pydantic import ValidationError
from torch import nn

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.plugins.losses.balance import Balance
from scmrl_plugins.plugins.losses.cross_entropy import CrossEntropy
from scmrl_plugins.plugins.losses.firing_rate import FiringRate
from scmrl_plugins.plugins.losses.infonce import InfoNCE
from scmrl_plugins.plugins.losses.sao import SemanticAlignment
from scmrl_plugins.plugins.losses.supcon import SupervisedContrast
from scmrl_plugins.plugins.losses.tet import TemporalEfficientTraining
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


ALL = [
    CrossEntropy,
    SemanticAlignment,
    InfoNCE,
    SupervisedContrast,
    TemporalEfficientTraining,
    Balance,
    FiringRate,
]


@pytest.mark.parametrize("cls", ALL)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), target=targets, seed=seeds)
def test_the_order_of_the_batch_does_not_matter(cls: Any, data: Any, target: list[int], seed: int) -> None:
    output, y = draw(target, seed), torch.tensor(target)
    order = torch.tensor(data.draw(st.permutations(range(len(target)))))
    other = ModelOutput(
        output.logits[order],
        {name: x[order] for name, x in output.aux_logits.items()},
        {name: x[:, order] for name, x in output.aligned.items()},
        output.step_logits[:, order],
        {name: x[order] for name, x in output.shares.items()},
        output.firing_rates,
    )
    torch.testing.assert_close(build(cls)(other, y[order]), build(cls)(output, y))


@pytest.mark.parametrize(
    ("cls", "remedy"), [(FiringRate, "record_firing_rates"), (TemporalEfficientTraining, "read-out such as 'add'")]
)
def test_missing_model_outputs_are_requested(cls: Any, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        build(cls)(ModelOutput(torch.zeros(1, K)), torch.tensor([0]))


@pytest.mark.parametrize("cls", ALL)
def test_an_empty_batch_gives_zero_with_gradients(cls: Any) -> None:
    config = {"lamb": 0.1} if cls is TemporalEfficientTraining else {}
    output, kept = leaves(draw([], 0), torch.float32)
    output.firing_rates = output.firing_rates * float("nan")  # as of no samples
    loss = build(cls, **config)(output, torch.zeros(0, dtype=torch.long))
    assert loss.item() == 0
    loss.backward()
    if cls is not FiringRate:  # its gradient passes the nan above
        assert all(x.grad is None or x.grad.isfinite().all() for x in kept)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("target", [[3], [2, 2, 2]])
def test_one_sample_and_one_class_are_finite(cls: Any, target: list[int]) -> None:
    output, kept = leaves(draw(target, 1), torch.float32)
    loss = build(cls)(output, torch.tensor(target))
    loss.backward()
    assert loss.isfinite()
    assert all(x.grad is None or x.grad.isfinite().all() for x in kept)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(cls: Any, dtype: torch.dtype) -> None:
    target = [0, 1, 1, 4]
    half, kept = leaves(draw(target, 1), dtype)
    single, _ = leaves(half, torch.float32)
    y = torch.tensor(target)
    loss = build(cls)(half, y)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in kept)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = build(cls)(single, y)
    torch.testing.assert_close(loss, build(cls)(single, y))
    torch.testing.assert_close(mixed, loss)


def test_losses_have_no_weights() -> None:
    """A loss can then be added to a run that has begun."""
    modules: list[nn.Module] = [build(cls) for cls in ALL]
    assert not any(module.state_dict() for module in modules)


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (CrossEntropy, {"label_smoothing": 1.0}),
        (CrossEntropy, {"label_smoothing": -0.1}),
        (SemanticAlignment, {"temperature": 0.0}),
        (SemanticAlignment, {"temperature": float("nan")}),
        (InfoNCE, {"temperature": 0.0}),
        (SupervisedContrast, {"temperature": -1.0}),
        (TemporalEfficientTraining, {"lamb": 1.5}),
        (TemporalEfficientTraining, {"label_smoothing": 1.0}),
        (Balance, {"label_smoothing": -0.1}),
        (FiringRate, {"low": -0.1}),
        (FiringRate, {"low": 0.5, "high": 0.4}),
    ],
)
def test_settings_out_of_range_are_refused(cls: Any, wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**wrong)
