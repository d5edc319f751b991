"""A right encoder, and some that are wrong in one way each."""

from __future__ import annotations

import torch
from pydantic import field_validator
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context
from wrong.register import fails


class Encoder(nn.Module):
    """x > 0 in every step; a static input comes back as a view."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 5:
            return self.events(x)
        return self.encode(x).expand(self.steps, *x.shape)

    def events(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


# Tags and configuration


@fails(configuration_round_trip="came back from TOML as", saved_and_loaded="configuration of the opened run")
class ValidatedTwice(Encoder):
    class Config(ComponentConfig):
        gain: float = 1.0

        @field_validator("gain")
        @classmethod
        def double(cls, value: float) -> float:
            return 2 * value


# Weights, types, devices, seeds, state and inputs


@fails(
    deterministic_under_a_seed="under another seed, and it is not tagged stochastic",
    batch_permutation="depends on the order of the batch",
)
class RateWithoutATag(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return (torch.rand_like(x) < x.sigmoid()).to(x.dtype)


class TaggedRate(RateWithoutATag):
    """Right: it says that it is stochastic."""

    tags = frozenset({"stochastic"})


@fails(
    no_state_between_calls="after another call, eval mode", batch_permutation="depends on the order of the batch"
)
class RemembersTheLastBatch(Encoder):
    """Its first call after another batch is right again, so that two calls alike do not tell."""

    seen: Tensor | None = None
    tags = frozenset({"no-compile"})

    def encode(self, x: Tensor) -> Tensor:
        shown = super().encode(x)
        if self.training or x.is_meta:
            return shown
        changed = self.seen is not None and self.seen.shape == x.shape and not torch.equal(self.seen, x)
        self.seen = x.clone()
        return 1 - shown if changed else shown


# What this kind promises


@fails(encoded_shape="the output is [3, 4, 1, 16, 16], expected [3, 4, 3, 16, 16]")
class GreyEncoder(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(1, keepdim=True) if x.dim() == 4 and x.shape[1] == 3 else x)


@fails(range="is not tagged analogue")
class AnalogueEncoder(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class TaggedAnalogueEncoder(AnalogueEncoder):
    """Right: it says so."""

    tags = frozenset({"analogue"})


@fails(range="the output is not finite")
class ConstantIsDividedByZero(Encoder):
    tags = frozenset({"analogue"})

    def encode(self, x: Tensor) -> Tensor:
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return (x - low) / (high - low)


@fails(batch_permutation="output of a sample depends on the other samples of the batch")
class RangeOfTheBatch(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return (x > 0.5 * x.max()).to(x.dtype)


@fails(views_equal_copies="a view and its copy are encoded differently")
class LooksAtStrides(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x if x.is_contiguous() else -x)


@fails(views_equal_copies="view size is not compatible")
class NeedsContiguousInput(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x.view(-1)).view(x.shape)


@fails(events_pass_through="events [B, T, ...] are not returned as [T, B, ...]")
class EventsKeepTheirOrder(Encoder):
    def events(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).flip(0)


@fails(events_pass_through="ValueError: images alone")
class RefusesEvents(Encoder):
    def events(self, x: Tensor) -> Tensor:
        raise ValueError("images alone")
