"""Losses at sizes a test can do by hand, and outputs of a model for them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, ModelOutput

K = 5


CONTEXT = Context(3, 8, 1, 4, K, {"audio": 1, "visual": 1}, neuron=torch.nn.Identity)


targets = st.lists(st.integers(0, K - 1), min_size=1, max_size=6)


seeds = st.integers(0, 1000)


def build(cls: Any, **config: Any) -> Any:
    return cls(cls.Config(**config), CONTEXT)


def draw(target: list[int], seed: int, steps: int = 3, dims: int = 8) -> ModelOutput:
    """A full output in float64; the features are positive, as the means of spikes are."""
    rng = torch.Generator().manual_seed(seed)
    normal = functools.partial(torch.randn, generator=rng, dtype=torch.float64)
    uniform = functools.partial(torch.rand, generator=rng, dtype=torch.float64)
    b = len(target)
    step_logits = normal(steps, b, K)
    share = uniform(b)
    return ModelOutput(
        step_logits.mean(0),
        {"audio": normal(b, K), "visual": normal(b, K)},
        {"audio": uniform(steps, b, dims), "visual": uniform(steps, b, dims)},
        step_logits,
        {"audio": share, "visual": 1 - share},
        uniform(7),
    )


def aligned(audio: Tensor, visual: Tensor) -> ModelOutput:
    return ModelOutput(torch.zeros(audio.shape[1], K), aligned={"audio": audio, "visual": visual})


def leaves(output: ModelOutput, dtype: torch.dtype) -> tuple[ModelOutput, list[Tensor]]:
    """The same output in another type, with gradients, and its tensors."""
    kept: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        kept.append(x.detach().to(dtype).requires_grad_())
        return kept[-1]

    def each(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: leaf(x) for name, x in tensors.items()}

    return ModelOutput(
        leaf(output.logits),
        each(output.aux_logits),
        each(output.aligned),
        leaf(output.step_logits),
        each(output.shares),
        leaf(output.firing_rates),
    ), kept
