"""CMCI: a joint stream, and a head for each modality."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import Make, built, streams

import scmrl_plugins
from scmrl_plugins.plugins.fusions.cmci import CMCI
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


def test_cmci_predicts_from_a_joint_stream_and_leaves_the_others(make_context: Make) -> None:
    fusion = built(CMCI, make_context())
    audio, visual = streams()
    fused = fusion(audio, visual)
    assert fused.audio is audio
    assert fused.visual is visual
    part = fusion.audio_with_visual
    drive = torch.einsum("ed,tbdn->tben", part.own.weight, audio) + part.own.bias[:, None]
    drive = drive + torch.einsum("ed,tbdn->tben", part.other.weight, visual) + part.other.bias[:, None]
    torch.testing.assert_close(fused.joint, part.mlp(part.neuron(drive)))
    with pytest.raises(UserError, match="9 and the other 4"):
        fusion(*streams(tokens=4))


def test_cmci_runs_the_unused_block_only_on_request_and_only_for_its_statistics(make_context: Make) -> None:
    assert built(CMCI, make_context()).visual_with_audio is None
    fusion = built(CMCI, make_context(), both_blocks=True)
    count = fusion.visual_with_audio.mlp.expand.bn.num_batches_tracked
    fusion(*streams())
    assert count == 0
    fusion.train()
    fused = fusion(*streams())
    assert count == 1
    fused.joint.sum().backward()
    assert all(p.grad is None for p in fusion.visual_with_audio.parameters())


def test_cmci_gives_three_heads_in_a_model() -> None:
    model = scmrl_plugins.build({"fusion": {"name": "cmci"}, "readout": {"name": "concat"}}).eval()
    output = model(torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16))
    assert set(output.aux_logits) == {"audio", "visual"}
    assert model.readout.head.in_features == model.config.model.embed_dims


def test_a_readout_without_heads_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from scmrl_plugins.plugins.readouts.linear import Add

    monkeypatch.setattr(Add, "further_heads", False)
    with pytest.raises(
        UserError, match="fusion 'cmci' needs a joint stream or further heads, which readout 'add'"
    ):
        scmrl_plugins.build({"fusion": {"name": "cmci"}})
