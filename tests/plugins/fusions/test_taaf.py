"""TAAF: the share of each modality, by hand."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import B, D, Make, N, T, built, streams
from torch import nn

from scmrl_plugins.plugins.fusions.taaf import TAAF

pytestmark = pytest.mark.numerical


def test_taaf_starts_as_late_fusion(make_context: Make) -> None:
    audio, visual = streams(tokens=4)
    fused = built(TAAF, make_context())(audio, visual)
    torch.testing.assert_close(fused.audio, audio)
    torch.testing.assert_close(fused.visual, visual)


def test_taaf_by_hand(make_context: Make) -> None:
    fusion = built(TAAF, make_context())
    nn.init.normal_(fusion.score.weight)
    nn.init.normal_(fusion.hidden.weight)
    audio, visual = streams(tokens=4)
    fused = fusion(audio, visual)
    for b in range(B):
        f = audio[:, b].mean(2) + visual[:, b].mean(2)
        scores = torch.tanh(f @ fusion.hidden.weight.T + fusion.hidden.bias) @ fusion.score.weight[0]
        s = torch.exp(scores) / torch.exp(scores).sum()
        torch.testing.assert_close(fused.audio[:, b], T * s[:, None, None] * audio[:, b])
        heard, seen = (sum(s[t] * stream[t, b].mean() for t in range(T)) for stream in (audio, visual))
        torch.testing.assert_close(fused.shares["audio"][b], heard / (heard + seen))
        assert (fused.shares["audio"][b] + fused.shares["visual"][b]).item() == pytest.approx(1)
    assert fused.audio.std() > audio.std()


def test_taaf_shares_of_silence_are_halves(make_context: Make) -> None:
    silence = torch.zeros(T, B, D, N, dtype=torch.double)
    fused = built(TAAF, make_context())(silence, silence)
    assert torch.equal(fused.shares["audio"], torch.full((B,), 0.5, dtype=torch.double))
