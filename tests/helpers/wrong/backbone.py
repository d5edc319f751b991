"""A right backbone, and some that are wrong in one way each."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context
from wrong.register import fails


class Backbone(nn.Module):
    """One linear map of patches of 8 x 8; the feed-forward is another, with a residual."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        assert context.modality is not None
        self.steps, self.modality = context.steps, context.modality
        self.patches = nn.Conv2d(context.channels[context.modality], context.embed_dims, 8, stride=8)
        self.further = nn.Linear(context.embed_dims, context.embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x.flatten(0, 1)).flatten(2).unflatten(0, x.shape[:2])

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.further(tokens.transpose(2, 3)).transpose(2, 3)


# Tags and configuration


@fails(every_choice_runs="with norm = 'rms', output is not finite")
class BadChoice(Backbone):
    class Config(ComponentConfig):
        norm: Literal["none", "rms"] = "none"

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.norm = config.norm

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens / 0 if self.norm == "rms" else tokens


# Weights, types, devices, seeds, state and inputs


@fails(state_dict_round_trip="differs after load_state_dict")
class StatisticsNotInStateDict(Backbone):
    mean = 0.0

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * tokens.mean().item()
            return tokens
        return tokens - self.mean

    tags = frozenset({"no-compile"})


class NeedsValues(Backbone):
    """Right, but what it does depends on values, which ``meta`` has none of."""

    tags = frozenset({"no-compile"})

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.any() else x + 1)


@fails(deterministic_under_a_seed="further.weight differs in two builds under one seed")
class WeightsWithoutASeed(Backbone):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.further.weight.data += torch.from_numpy(np.random.default_rng().normal(size=(16, 16))).float()


@fails(works_in_a_model="in a model with it is not finite")
class GradientFailsForThree(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens + (0 * tokens).sqrt() if x.shape[1] == 3 else tokens


@fails(saved_and_loaded="share memory", renamed_plugin_is_explained="share memory")
class TiedWeights(Backbone):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.again = nn.Linear(context.embed_dims, context.embed_dims)
        self.again.weight.data = self.further.weight.data


# What this kind promises


@fails(tokens_of_each_modality="feed_forward turns [3, 4, 16, 4] into [3, 4, 16, 1]")
class PoolsInFeedForward(Backbone):
    def feed_forward(self, tokens: Tensor) -> Tensor:
        return super().feed_forward(tokens).mean(3, keepdim=True)


@fails(
    tokens_of_each_modality="visual tokens are [3, 4, 4, 16], expected [3, 4, 16, N]",
    works_in_a_model="returned for visual",
    saved_and_loaded="returned for visual",
)
class TransposedTokens(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens.transpose(2, 3) if self.modality == "visual" else tokens


@fails(after_fusion="after_fusion has patches.weight, on which the tokens depend")
class EverythingAfterFusion(Backbone):
    @property
    def after_fusion(self) -> tuple[nn.Module, ...]:
        return (self.further, self.patches)


@fails(input_gets_gradients="the input gets no gradient")
class DetachedInput(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@fails(input_gets_gradients="the gradient of the input is zero everywhere")
class InputTimesZero(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach() + 0 * x)


@fails(input_gets_gradients="the gradient of the input is not finite")
class InfiniteInputGradient(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + (0 * x).sqrt())


@fails(batch_permutation="depends on the other samples of the batch")
class MinusTheBatchMean(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens - 0.5 * tokens.mean(1, keepdim=True)


@fails(any_number_of_steps="output is not finite for T = 1")
class DeviationOverTime(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens / (tokens.std(0, keepdim=True) + 1)
