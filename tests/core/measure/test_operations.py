"""Parameters, operations and tokens, counted by hand; nothing of the model changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
LATE = {"fusion": {"name": "late"}, "backbone": {"mlp_ratio": 2.0}}


def test_parameters_of_a_small_late_model_by_hand(small: Small) -> None:
    def layer(inputs: int, outputs: int, kernel: int, bias: bool) -> int:
        return outputs * inputs * kernel + (outputs if bias else 0) + 2 * outputs

    def backbone(channels: int) -> int:
        splitting = layer(channels, 4, 9, False) + layer(4, 8, 9, False) + layer(8, 8, 9, False)
        return splitting + layer(8, 16, 1, True) + layer(16, 8, 1, True)

    expected = backbone(1) + backbone(2) + (8 * 3 + 3)
    assert operations.count_parameters(small(**LATE).model) == expected


@pytest.mark.parametrize("steps", [1, 3])
def test_operations_of_a_small_late_model_by_hand(small: Small, steps: int) -> None:
    model = small(**LATE, sets=[f"model.steps={steps}"]).model

    def backbone(channels: int) -> int:
        # 8 x 8 pixels, then 4 x 4, then 2 x 2 = 4 tokens; the image is the same at each step, its convolution too.
        return 64 * 9 * channels * 4 + steps * (16 * 9 * 4 * 8 + 4 * 9 * 8 * 8 + 4 * (8 * 16 + 16 * 8))

    expected = backbone(1) + backbone(2) + steps * 8 * 3
    for batch in (1, 4):
        inputs = operations.random_inputs(model, torch.device("cpu"), batch=batch)
        found, output = operations.measure(model, inputs)
        assert found.operations == expected
        assert found.tokens == {"audio": 4, "visual": 4}
        assert found.parameters == operations.count_parameters(model)
        assert output.logits.shape == (batch, 3)


def test_attention_counts_its_matrix_products(small: Small) -> None:
    def count(fusion: dict[str, Any]) -> int:
        model = small(fusion=fusion).model
        return operations.measure(model, operations.random_inputs(model, torch.device("cpu")))[0].operations

    # Four tokens, eight channels, two steps: q, k, v and projection, and two products over 4 x 4 tokens.
    one_way = 2 * (4 * 4 * 8 * 8 + 2 * 4 * 4 * 8)
    spatial = {"name": "cmrl", "attention": "spatial", "align": False}
    assert count(spatial) - count({"name": "late"}) == 2 * one_way


def test_measuring_leaves_the_model_as_it_was(small: Small) -> None:
    model = small().model
    for training in (True, False):
        model.train(training)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        operations.measure(model, operations.random_inputs(model, torch.device("cpu")))
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert model.training is training
        assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(UserError):
        operations.measure(model, {"audio": torch.randn(2, 1, 8, 8)})
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_random_inputs_are_the_same_for_a_seed(small: Small) -> None:
    model, device = small().model, torch.device("cpu")
    first, same, other = (operations.random_inputs(model, device, seed=seed) for seed in (0, 0, 1))
    assert {name: tuple(x.shape) for name, x in first.items()} == {"audio": (2, 1, 8, 8), "visual": (2, 2, 8, 8)}
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["audio"], other["audio"])
