"""CMQKA: query-key attention between the modalities, at one scale or several."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import B, D, Make, T, built, streams

import scmrl_plugins
from scmrl_plugins.plugins.fusions.cmqka import CMQKA
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


def test_cmqka_adds_both_directions_with_learned_weights(make_context: Make) -> None:
    fusion = built(CMQKA, make_context(), start=0.5)
    audio, visual = streams()
    fused = fusion(audio, visual)
    torch.testing.assert_close(fused.audio, audio + 0.5 * fused.residuals["audio"])
    torch.testing.assert_close(fused.visual, visual + 0.5 * fused.residuals["visual"])
    part = fusion.last.visual_from_audio
    expected = part.space(visual, audio) + part.time(visual, audio)
    torch.testing.assert_close(fused.residuals["visual"], expected)
    with pytest.raises(UserError, match="9 and the other 4"):
        fusion(*streams(tokens=4))


def test_cmqka_multiplies_no_tokens_with_tokens(make_context: Make) -> None:
    """Twice the tokens, twice the operations."""
    from torch.utils.flop_counter import FlopCounterMode

    fusion = built(CMQKA, make_context())
    counts = []
    for tokens in (64, 128):
        stream = torch.zeros(T, B, D, tokens, dtype=torch.double)
        with FlopCounterMode(display=False) as flops:
            fusion(stream, stream)
        counts.append(flops.get_total_flops())
    assert counts[1] == 2 * counts[0]


def test_cmqka_at_several_scales(make_context: Make) -> None:
    sections = {"backbone": {"name": "qkformer"}, "fusion": {"name": "cmqka", "scales": 3}}
    model = scmrl_plugins.build(sections).train()
    assert [block.audio_from_visual.space.query.conv.in_channels for block in model.fusion.between] == [8, 16]
    audio, visual = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    output = model(audio, visual)
    output.logits.square().sum().backward()
    for block in [*model.fusion.between, model.fusion.last]:
        assert block.audio_weight.grad is not None
    # With every weight at zero it is the backbone alone.
    with torch.no_grad():
        for block in [*model.fusion.between, model.fusion.last]:
            block.audio_weight.zero_()
            block.visual_weight.zero_()
    model.eval()
    late = scmrl_plugins.build({"backbone": {"name": "qkformer"}, "fusion": {"name": "late"}}).eval()
    late.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("fusion.")})
    torch.testing.assert_close(model(audio, visual).logits, late(audio, visual).logits)


def test_more_scales_than_there_are_is_one_line() -> None:
    with pytest.raises(UserError, match=r"fusion.scales = 2, but the backbone has 1: .*'qkformer'"):
        scmrl_plugins.build({"fusion": {"name": "cmqka", "scales": 2}})
