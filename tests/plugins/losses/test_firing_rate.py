"""Firing rates as part of the graph: recorded for a loss that needs them, and what the loss does with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from loss_cases import K, build

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.plugins.losses.firing_rate import FiringRate
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def outputs(parts: Assembly) -> ModelOutput:
    rng = torch.Generator().manual_seed(0)
    audio, visual = torch.randn(16, 1, 8, 8, generator=rng), torch.randn(16, 2, 8, 8, generator=rng)
    return parts.model(audio, visual)


def train(parts: Assembly, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The layers' rates before and after training for the loss alone."""
    optimizer = torch.optim.Adam(parts.model.parameters(), lr=0.02)
    target = torch.arange(16) % 3
    before = outputs(parts).firing_rates.detach()
    for _ in range(steps):
        loss, _ = parts.loss(outputs(parts), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, outputs(parts).firing_rates.detach()


def test_rates_are_recorded_where_a_loss_needs_them(small: Small) -> None:
    assert outputs(small()).firing_rates is None
    parts = small(loss=[{"name": "ce"}, {"name": "rate"}])
    rates = outputs(parts).firing_rates
    layers = [module for module in parts.model.modules() if isinstance(module, parts.model.neuron_type)]
    assert rates.shape == (len(layers),)
    assert ((rates >= 0) & (rates <= 1)).all()


def test_a_model_built_without_the_loss_explains_the_remedy(small: Small) -> None:
    parts = small()
    loss = small(loss=[{"name": "rate"}]).loss
    with pytest.raises(UserError, match="record_firing_rates"):
        loss(outputs(parts), torch.arange(16) % 3)
    parts.model.record_firing_rates(True)
    loss(outputs(parts), torch.arange(16) % 3)


def test_gradients_reach_the_weights_before_silent_layers(small: Small) -> None:
    parts = small(neuron={"threshold": 2.0}, loss=[{"name": "rate", "low": 0.2}])
    total, _ = parts.loss(outputs(parts), torch.arange(16) % 3)
    total.backward()
    reached = [name for name, p in parts.model.named_parameters() if p.grad is not None and p.grad.any()]
    assert any(name.startswith("backbones.audio") for name in reached)
    assert any(name.startswith("backbones.visual") for name in reached)
    assert all(p.grad is None or p.grad.isfinite().all() for p in parts.model.parameters())


@pytest.mark.slow
def test_training_for_it_revives_silent_layers(small: Small) -> None:
    parts = small(
        neuron={"threshold": 2.0}, loss=[{"name": "rate", "low": 0.1, "high": 1.0}], fusion={"name": "late"}
    )
    before, after = train(parts, 60)
    assert (before < 0.05).sum() > len(before) / 2
    assert (after < 0.05).sum() < (before < 0.05).sum() / 2
    assert after.mean() > before.mean()


@pytest.mark.slow
def test_training_for_it_quietens_busy_layers(small: Small) -> None:
    parts = small(
        neuron={"threshold": 0.01}, loss=[{"name": "rate", "low": 0.0, "high": 0.2}], fusion={"name": "late"}
    )
    before, after = train(parts, 60)
    assert (before > 0.3).sum() > len(before) / 2
    assert (after > 0.3).sum() < (before > 0.3).sum() / 2
    assert after.mean() < before.mean()


def test_an_empty_batch_costs_nothing(small: Small) -> None:
    parts = small(loss=[{"name": "rate"}])
    output = parts.model(torch.zeros(2, 1, 8, 8), torch.zeros(2, 2, 8, 8))
    output.firing_rates = output.firing_rates * float("nan")
    total, _ = parts.loss(output, torch.zeros(0, dtype=torch.long))
    assert total.item() == 0


def test_rate_is_the_squared_distance_to_the_band() -> None:
    rates = torch.tensor([0.0, 0.05, 0.1, 0.25, 0.4, 1.0], dtype=torch.float64, requires_grad=True)
    loss = build(FiringRate, low=0.1, high=0.4)(
        ModelOutput(torch.zeros(1, K), firing_rates=rates), torch.tensor([0])
    )
    loss.backward()
    assert loss.item() == pytest.approx((0.1**2 + 0.05**2 + 0.6**2) / 6)
    assert rates.grad.sign().tolist() == [-1, -1, 0, 0, 0, 1]
