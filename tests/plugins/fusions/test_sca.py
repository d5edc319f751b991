"""SCA: each stream becomes what it attends to in the other."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import Make, built, streams

from scmrl_plugins.plugins.fusions.sca import SCA
from scmrl_plugins.plugins.layers.attention import SpikingAttention

pytestmark = pytest.mark.numerical


def test_sca_replaces_the_stream_by_the_attention(make_context: Make) -> None:
    fusion = built(SCA, make_context())
    audio, visual = streams(tokens=4)
    fused = fusion(audio, visual)
    torch.testing.assert_close(fused.audio, SpikingAttention.forward(fusion.audio_from_visual, audio, visual))
    assert fused.visual.shape == visual.shape
    assert not fused.residuals
