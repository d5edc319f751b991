"""Patch splitting, MLP, blocks and the backbone made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.backbones.qkformer import QKFormer
from scmrl_plugins.plugins.backbones.spikformer import DEEP_FROM, Spikformer
from scmrl_plugins.plugins.layers.blocks import SpikingBlock, SpikingMLP, SpikingPatchSplitting
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

MakeContext = Callable[..., Context]


def backbone(context: Context, **config: Any) -> Spikformer:
    return Spikformer(Spikformer.Config(**config), context)


def neuron(**overrides: Any) -> LIF:
    return LIF(LIF.Config(**({"threshold": 0.2} | overrides)))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 15), (17, 9), (1, 1), (33, 2)])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_each_stage_halves_rounding_up(stages: int, height: int, width: int) -> None:
    sps = SpikingPatchSplitting(2, [3] * stages, neuron)
    out = sps(torch.randn(2, 3, 2, height, width))
    tokens = math.ceil(height / 2**stages) * math.ceil(width / 2**stages)
    assert out.shape == (2, 3, 3, tokens)


def test_patch_splitting_is_its_equation() -> None:
    torch.manual_seed(0)
    sps = SpikingPatchSplitting(2, [3, 6], neuron).double()
    x = torch.randn(3, 2, 2, 9, 9, dtype=torch.float64)

    def layer(part: SpikingConv, z: torch.Tensor) -> torch.Tensor:
        flat = F.conv2d(z.flatten(0, 1), part.conv.weight, padding=1)
        flat = F.batch_norm(flat, None, None, part.bn.weight, part.bn.bias, training=True, eps=1e-5)
        return part.neuron(flat.view(3, 2, *flat.shape[1:]))

    z = x
    for stage in sps.stages:
        spikes = layer(stage, z)
        z = F.max_pool2d(spikes.flatten(0, 1), 3, 2, 1).unflatten(0, (3, 2))
    expected = (z + layer(sps.position, z)).flatten(3)
    torch.testing.assert_close(sps(x), expected)
    assert set(expected.unique().tolist()) == {0.0, 1.0, 2.0}
    assert all(stage.conv.bias is None for stage in [*sps.stages, sps.position])


def test_batch_statistics_run_over_steps_and_samples() -> None:
    layer = SpikingConv(4, 6, neuron).double()
    x = torch.randn(3, 5, 4, 7, dtype=torch.float64)
    layer(x)
    z = torch.einsum("oc,tbcn->tbon", layer.conv.weight[:, :, 0], x)
    torch.testing.assert_close(layer.bn.running_mean, 0.1 * z.mean((0, 1, 3)))
    torch.testing.assert_close(layer.bn.running_var, 0.9 + 0.1 * z.var((0, 1, 3)))
    assert layer.bn.eps == 1e-5


def test_mlp_is_a_residual_of_two_layers_with_bias(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    mlp = SpikingMLP(make_context(), ratio=4.0).eval()
    x = torch.rand(3, 2, 8, 5) * 3
    out = mlp(x)
    torch.testing.assert_close(out, x + mlp.contract(mlp.expand(x)))
    assert set((out - x).round(decimals=5).unique().tolist()) <= {0.0, 1.0}
    assert mlp.expand.conv.weight.shape == (32, 8, 1)
    assert mlp.contract.conv.weight.shape == (8, 32, 1)
    assert mlp.expand.conv.bias is not None
    assert mlp.contract.conv.bias is not None


def test_mlp_keeps_at_least_one_hidden_channel(make_context: MakeContext) -> None:
    assert SpikingMLP(make_context(), ratio=0.01).expand.conv.weight.shape == (1, 8, 1)


def test_block_is_attention_then_mlp(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    block = SpikingBlock(make_context(threshold=0.05), 2.0).eval()
    x = torch.rand(3, 2, 8, 5)
    y = x + block.attention(x, x)
    torch.testing.assert_close(block(x), y + block.mlp.contract(block.mlp.expand(y)))
    assert not torch.equal(y, x)


def test_splitting_auto_goes_by_the_size(make_context: MakeContext) -> None:
    def stages(size: int, **config: Any) -> list[int]:
        made = backbone(make_context(image_size=size), **config)
        return [stage.conv.weight.shape[0] for stage in made.patches.stages]

    assert stages(DEEP_FROM - 1) == stages(4) == [4, 8]
    assert stages(DEEP_FROM) == stages(128) == [1, 2, 4, 8]
    assert stages(DEEP_FROM, splitting="shallow") == [4, 8]
    assert stages(16, splitting="deep") == [1, 2, 4, 8]


@pytest.mark.parametrize(("splitting", "tokens"), [("shallow", 16), ("deep", 1)])
def test_tokens_and_modality(make_context: MakeContext, splitting: str, tokens: int) -> None:
    for modality, channels in (("audio", 1), ("visual", 2)):
        made = backbone(make_context(modality=modality), splitting=splitting)
        assert made(torch.randn(3, 2, channels, 16, 16)).shape == (3, 2, 8, tokens)


def test_depth_adds_blocks_before_the_fusion(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    made = backbone(make_context(), depth=3).eval()
    assert len(made.blocks) == 3
    x = torch.randn(3, 2, 2, 16, 16)
    z = made.patches(x)
    for block in made.blocks:
        z = block(z)
    torch.testing.assert_close(made(x), z)
    torch.testing.assert_close(made.feed_forward(z), made.mlp(z))
    assert len(backbone(make_context()).blocks) == 0


def test_samples_do_not_see_each_other_in_evaluation(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    made = backbone(make_context(), depth=1)
    x = torch.randn(3, 4, 2, 16, 16)
    made(x)
    made.eval()
    torch.testing.assert_close(made(x)[:, 1:2], made(x[:, 1:2]))


def test_gradients_reach_every_parameter(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    made = backbone(make_context(threshold=0.05), depth=1)
    out = made.feed_forward(made(torch.randn(3, 4, 2, 16, 16)))
    (out * torch.randn(out.shape)).sum().backward()
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("dims", "splitting", "share"), [(12, "deep", 8), (7, "shallow", 2)])
def test_channels_must_be_a_multiple(make_context: MakeContext, dims: int, splitting: str, share: int) -> None:
    with pytest.raises(UserError, match=f"{dims} is not a multiple of {share}, which the {splitting}"):
        backbone(make_context(embed_dims=dims, num_heads=1), splitting=splitting)


@pytest.mark.parametrize(
    "wrong", [{"splitting": "medium"}, {"depth": -1}, {"depth": 65}, {"mlp_ratio": 0.0}, {"ratio": 4.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Spikformer.Config(**wrong)


@pytest.mark.parametrize(("cls", "options"), [(Spikformer, {"depth": 2}), (QKFormer, {"depths": (1, 1, 2)})])
def test_recomputed_it_trains_alike_and_keeps_less(
    make_context: MakeContext, cls: Any, options: dict[str, Any]
) -> None:
    """Outputs, gradients and running statistics to the bit, and what autograd keeps in between."""
    x = torch.randn(3, 2, 2, 16, 16, dtype=torch.float64)
    found, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = cls(cls.Config(**options, recompute=recompute), make_context(neuron=neuron)).double()
        held: set[int] = set()

        def keep(tensor: torch.Tensor, held: set[int] = held) -> torch.Tensor:
            held.add(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = model.feed_forward(model(x))
        out.cos().sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert all(grad is not None for grad in gradients.values())
        found.append({"out": out.detach(), **gradients, **dict(model.named_buffers(prefix="buffer"))})
        kept.append(len(held))
    torch.testing.assert_close(found[0], found[1])
    assert kept[1] < kept[0] / 2
