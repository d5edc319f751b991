"""The fusions of summaries against their equations, on streams of spikes."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import Make, built, streams
from torch import Tensor

from scmrl_plugins.plugins.fusions.bilinear import Bilinear
from scmrl_plugins.plugins.fusions.perceptron import Perceptron
from scmrl_plugins.plugins.fusions.summary import Summary
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv

pytestmark = pytest.mark.numerical


def layer(conv: SpikingConv, x: Tensor) -> Tensor:
    """LIF(BN(W x)) of ``x [T, B, D]`` with the statistics of the batch."""
    z = x @ conv.conv.weight[:, :, 0].T
    z = (z - z.mean((0, 1))) / (z.var((0, 1), unbiased=False) + 1e-5).sqrt()
    return conv.neuron(z)


def both() -> tuple[Tensor, Tensor, Tensor]:
    audio, visual = streams(tokens=4)
    return audio, visual, torch.cat([audio.mean(3), visual.mean(3)], 2)


def test_summary_is_its_equation(make_context: Make) -> None:
    fusion = built(Summary, make_context(0.05)).train()
    audio, visual, together = both()
    part = fusion.audio_from_visual
    gate, value = layer(part.gate, together), layer(part.value, visual.mean(3))
    r = fusion(audio, visual).residuals["audio"]
    torch.testing.assert_close(r, (gate * value).unsqueeze(3).expand_as(audio))
    assert 0 < r.mean() < value.mean()


def test_perceptron_is_its_equation(make_context: Make) -> None:
    fusion = built(Perceptron, make_context(0.05), ratio=1.5).train()
    audio, visual, together = both()
    part = fusion.audio_from_visual
    hidden = layer(part.hidden, together)
    assert hidden.shape[2] == 12
    expected = layer(part.out, hidden)
    torch.testing.assert_close(fusion(audio, visual).residuals["audio"], expected.unsqueeze(3).expand_as(audio))
    assert 0 < expected.mean() < 1


def test_bilinear_is_its_equation(make_context: Make) -> None:
    fusion = built(Bilinear, make_context(0.05), ratio=2.0).train()
    audio, visual, _ = both()
    part = fusion.visual_from_audio
    coincidences = layer(part.own, visual.mean(3)) * layer(part.partner, audio.mean(3))
    assert coincidences.shape[2] == 16
    expected = layer(part.out, coincidences)
    torch.testing.assert_close(fusion(audio, visual).residuals["visual"], expected.unsqueeze(3).expand_as(visual))
    assert 0 < expected.mean() < 1
