"""Read-outs: means over tokens and steps, one head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fusion_cases import Make, streams
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context, Fused
from scmrl_plugins.plugins.readouts.linear import Add, Concat

pytestmark = pytest.mark.numerical

MakeContext = Callable[..., Context]


def draw(tokens: int, seed: int) -> Tensor:
    return torch.randn(3, 4, 8, tokens, generator=torch.Generator().manual_seed(seed))


def features(*streams: Tensor) -> list[Tensor]:
    """Means over tokens and steps, sample by sample."""
    return [torch.stack([stream[:, b].mean((0, 2)) for b in range(4)]) for stream in streams]


def test_add_reads_the_sum(make_context: MakeContext) -> None:
    readout = Add(Add.Config(), make_context())
    a, v = draw(5, 1), draw(7, 2)
    out = readout(Fused(a, v))
    fa, fv = features(a, v)
    torch.testing.assert_close(out.logits, (fa + fv) @ readout.head.weight.T + readout.head.bias)
    assert readout.head.weight.shape == (5, 8)
    assert out.aligned is None
    assert out.aux_logits == {}


def test_concat_reads_audio_first(make_context: MakeContext) -> None:
    readout = Concat(Concat.Config(), make_context())
    a, v = draw(5, 1), draw(7, 2)
    out = readout(Fused(a, v))
    assert readout.head.weight.shape == (5, 16)
    torch.testing.assert_close(out.logits, torch.cat(features(a, v), 1) @ readout.head.weight.T)


@pytest.mark.parametrize("cls", [Add, Concat])
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_one_modality_alone(make_context: MakeContext, cls: Any, modality: str) -> None:
    readout = cls(cls.Config(), make_context(modalities=(modality,)))
    x = draw(5, 1)
    given: dict[str, Any] = {"audio": None, "visual": None, modality: x}
    out = readout(Fused(**given))
    assert readout.head.weight.shape == (5, 8)
    torch.testing.assert_close(out.logits, features(x)[0] @ readout.head.weight.T)


def test_residuals_are_averaged_over_tokens_only(make_context: MakeContext) -> None:
    a, v = draw(5, 1), draw(7, 2)
    out = Add(Add.Config(), make_context())(Fused(a, v, residuals={"audio": v, "visual": a}))
    assert out.aligned is not None
    torch.testing.assert_close(out.aligned["audio"], v.sum(3) / 7)
    torch.testing.assert_close(out.aligned["visual"], a.sum(3) / 5)


@pytest.mark.parametrize("cls", [Add, Concat])
def test_the_head_begins_small(make_context: MakeContext, cls: Any) -> None:
    torch.manual_seed(0)
    readout = cls(cls.Config(), make_context(embed_dims=256, num_classes=50))
    assert readout.head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert readout.head.bias.count_nonzero() == 0


def test_the_readout_reads_the_joint_stream_alone(make_context: Make) -> None:
    from scmrl_plugins.plugins.readouts.linear import Concat

    context = dataclasses.replace(make_context(), joint=True, heads=("audio",))
    readout = Concat(Concat.Config(), context).double()
    audio, visual = streams()
    joint, _ = streams(seed=1)
    output = readout(Fused(audio, visual, joint=joint))
    torch.testing.assert_close(output.logits, readout.head(joint.mean((0, 3))))
    torch.testing.assert_close(output.aux_logits["audio"], readout.heads["audio"](audio.mean((0, 3))))
    torch.testing.assert_close(output.step_logits.mean(0), output.logits)
    assert isinstance(readout.head, nn.Linear)
