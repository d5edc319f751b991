"""Attention over the weights of the modalities, by hand."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import B, Make, T, built, streams
from torch import nn

from scmrl_plugins.plugins.fusions.weight_attention import WeightAttention

pytestmark = pytest.mark.numerical


def test_weight_attention_by_hand(make_context: Make) -> None:
    fusion = built(WeightAttention, make_context())
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    audio, visual = streams(tokens=4)
    fused = fusion(audio, visual)
    for own, other, part, result in (
        (audio, visual, fusion.audio_weight, fused.audio),
        (visual, audio, fusion.visual_weight, fused.visual),
    ):
        for t in range(T):
            for b in range(B):
                both = torch.cat([own[t, b].mean(1), other[t, b].mean(1)])
                hidden = part.reduce.weight @ both + part.reduce.bias
                w = (part.weigh.weight @ hidden + part.weigh.bias).item()
                torch.testing.assert_close(result[t, b], w * own[t, b])
    assert fused.residuals["audio"] is fused.audio
