"""The hierarchical backbone: its scales, its cost, its limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.backbones.qkformer import QKFormer
from scmrl_plugins.plugins.layers.attention import QueryKeyAttention, SpikingAttention
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

Make = Callable[..., Context]


@pytest.mark.parametrize(
    ("size", "stride", "sides"),
    [(16, "auto", (8, 4, 2)), (28, "auto", (14, 7, 4)), (64, "auto", (16, 8, 4)), (30, "4", (8, 4, 2))],
)
def test_each_stage_has_a_quarter_of_the_tokens(
    make_context: Make, size: int, stride: str, sides: tuple[int, int, int]
) -> None:
    backbone = QKFormer(QKFormer.Config(stride=stride), make_context(image_size=size))
    assert backbone.widths == (2, 4, 8)
    x = torch.randn(3, 2, 2, size, size)
    for stage, width, side in zip(backbone.stages, backbone.widths, sides, strict=True):
        x = stage(x)
        assert x.shape == (3, 2, width, side, side)
    x = torch.randn(3, 2, 2, size, size)
    assert backbone(x).shape == (3, 2, 8, sides[2] ** 2)


def test_attention_is_query_key_but_in_the_last_stage(make_context: Make) -> None:
    backbone = QKFormer(QKFormer.Config(depths=(1, 2, 3)), make_context())
    kinds = [[type(block.attention) for block in stage.blocks] for stage in backbone.stages]
    assert kinds == [[QueryKeyAttention], [QueryKeyAttention] * 2, [SpikingAttention] * 3]


def test_no_blocks_leaves_the_embeddings(make_context: Make) -> None:
    backbone = QKFormer(QKFormer.Config(depths=(0, 0, 0)), make_context())
    assert backbone(torch.randn(3, 2, 2, 16, 16)).shape == (3, 2, 8, 4)


def test_the_embedding_adds_a_shortcut_of_its_input(make_context: Make) -> None:
    embedding = QKFormer(QKFormer.Config(), make_context()).stages[1].embedding.double().eval()
    x = torch.randint(0, 2, (3, 2, 2, 8, 8)).double()
    main = embedding.embed(embedding.pool(embedding.expand(x).flatten(0, 1)).unflatten(0, (3, 2)))
    torch.testing.assert_close(embedding(x), main + embedding.shortcut(x))


@pytest.mark.parametrize("changes", [{"embed_dims": 10}, {"embed_dims": 12, "num_heads": 2}])
def test_widths_that_do_not_fit_are_one_line(make_context: Make, changes: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"D/4, D/2 and D channels.*model.embed_dims = 1"):
        QKFormer(QKFormer.Config(), make_context(**changes))
