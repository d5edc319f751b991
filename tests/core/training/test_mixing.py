"""Mixed pairs of samples: what is mixed, by how much, and what the loss makes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from scmrl_plugins.core.config.sections import DataConfig
from scmrl_plugins.core.data.loading import training_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.training import step
from scmrl_plugins.core.training.mixing import Mixed, event_mask, mix


def batch(*shape: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: torch.rand(4, *shape, 6, 5, generator=draw) for name in ("audio", "visual")}


def test_nothing_is_mixed_by_default() -> None:
    assert mix(batch(1), DataConfig(), np.random.default_rng(0)) is None


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_mixup_is_a_weighted_mean_of_pairs(shape: tuple[int, ...]) -> None:
    inputs = batch(*shape)
    mixed = mix(inputs, DataConfig(mixup=0.4), np.random.default_rng(1))
    assert mixed is not None
    share = mixed.kept / mixed.total
    assert 0 <= share <= 1
    assert sorted(mixed.partner.tolist()) == [0, 1, 2, 3]
    for name, x in inputs.items():
        expected = share * x + (1 - share) * x[mixed.partner]
        torch.testing.assert_close(mixed.inputs[name], expected)


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_event_mixing_takes_every_point_of_one_of_the_two(shape: tuple[int, ...]) -> None:
    inputs = batch(*shape)
    mixed = mix(inputs, DataConfig(event_mix=1.0), np.random.default_rng(3))
    assert mixed is not None
    own = total = 0.0
    for name, x in inputs.items():
        kept = mixed.inputs[name] == x
        assert (kept | (mixed.inputs[name] == x[mixed.partner])).all()
        channels = kept.movedim(-3, 0)
        moved = mixed.partner != torch.arange(4)
        assert all(torch.equal(channel[moved], channels[0][moved]) for channel in channels)
        brought = mixed.inputs[name] != x
        own += float(mixed.inputs[name][~brought].sum())
        total += float(mixed.inputs[name].sum())
    if (mixed.partner != torch.arange(4)).all():
        assert mixed.kept == pytest.approx(own, rel=1e-5)
        assert mixed.total == pytest.approx(total, rel=1e-5)


def test_event_mixing_without_events_goes_by_the_volume() -> None:
    nothing = {name: torch.zeros_like(x) for name, x in batch(3, 2).items()}
    mixed = mix(nothing, DataConfig(event_mix=1.0), np.random.default_rng(0))
    assert mixed is not None
    assert 0 <= mixed.kept <= mixed.total == 1


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_mask_has_the_requested_volume(shape: tuple[int, int, int], volume: float, seed: int) -> None:
    mask = event_mask(shape, volume, np.random.default_rng(seed))
    assert mask.shape == shape
    assert int(mask.sum()) == round(volume * mask.numel())
    assert torch.equal(mask, event_mask(shape, volume, np.random.default_rng(seed)))


def test_two_ways_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="are both set; set one of them to 0"):
        DataConfig(mixup=0.2, event_mix=0.2)


def test_a_step_weighs_the_two_labels(small: Callable[..., Assembly], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Mixed] = []
    losses: list[tuple[Tensor, Tensor]] = []
    backward: list[float] = []

    def watched(*args: object) -> Mixed | None:
        result = mix(*args)  # type: ignore[arg-type]
        seen.append(result)  # type: ignore[arg-type]
        return result

    class Watched(torch.nn.Module):
        def forward(self, output: object, target: Tensor) -> object:
            result = parts.loss(output, target)
            losses.append((target, result[0].detach()))
            return result

    class WatchedBackward(step.Plain):
        def backward(self, loss: Tensor) -> None:
            backward.append(loss.item())
            loss.backward()

    monkeypatch.setattr(step, "mix", watched)
    parts = small(sets=["data.mixup=0.5"], fusion={"name": "late"})
    optimizer = torch.optim.SGD(parts.model.parameters(), 0.01)
    train = step.Step(parts.model, Watched(), optimizer, mixing=parts.config.data, accelerator=WatchedBackward())
    loader, _ = training_loader([load_splits(parts.dataset, parts.config)["train"]], parts.config)
    for number, batch in enumerate(loader):
        train([batch], draw=(0, number))
    assert len(seen) == len(backward) == 3
    for number, mixed in enumerate(seen):
        (target, own), (partner, other) = losses[2 * number], losses[2 * number + 1]
        assert torch.equal(target[mixed.partner], partner)
        share = mixed.kept / mixed.total
        assert backward[number] == pytest.approx(float(share * own + (1 - share) * other), rel=1e-5)
