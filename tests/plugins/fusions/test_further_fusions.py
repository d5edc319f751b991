"""The other fusions, each against its equation written out by hand.

Spikes, copies and halves are compared to the bit, everything else within a tolerance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import scmrl_plugins
from scmrl_plugins.core.interfaces import Context, Fused
from scmrl_plugins.plugins.fusions.cmci import CMCI
from scmrl_plugins.plugins.fusions.cmqka import CMQKA
from scmrl_plugins.plugins.fusions.sca import SCA
from scmrl_plugins.plugins.fusions.taaf import TAAF
from scmrl_plugins.plugins.fusions.weight_attention import WeightAttention
from scmrl_plugins.plugins.layers.attention import PositionedAttention, QueryKeyAttention, SpikingAttention
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

Make = Callable[..., Context]
T, B, D, N = 3, 2, 8, 9


def streams(tokens: int = N, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 2, (T, B, D, n), generator=draw).double() for n in (N, tokens))  # type: ignore[return-value]


def built(cls: type, context: Context, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return cls(cls.Config(**options), context).double().eval()


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


def test_sca_replaces_the_stream_by_the_attention(make_context: Make) -> None:
    fusion = built(SCA, make_context())
    audio, visual = streams(tokens=4)
    fused = fusion(audio, visual)
    torch.testing.assert_close(fused.audio, SpikingAttention.forward(fusion.audio_from_visual, audio, visual))
    assert fused.visual.shape == visual.shape
    assert not fused.residuals


@pytest.mark.parametrize(("n", "m", "reach"), [(9, 9, 7), (9, 4, 7), (16, 9, 1), (5, 7, 2), (1, 1, 0)])
def test_relative_positions_by_hand(make_context: Make, n: int, m: int, reach: int) -> None:
    attention = PositionedAttention(make_context(), reach=reach)
    bias = attention._bias(n, m)
    own_columns, other_columns = (next(c for c in range(1, 99) if c * c >= count) for count in (n, m))
    for i in range(n):
        for j in range(m):
            row = i // own_columns - j // other_columns
            column = i % own_columns - j % other_columns
            place = [max(-reach, min(reach, offset)) + reach for offset in (row, column)]
            assert torch.equal(bias[:, i, j], attention.bias[:, place[0], place[1]])


def test_positioned_attention_by_hand(make_context: Make) -> None:
    torch.manual_seed(0)
    attention = PositionedAttention(make_context()).double()
    q, k, v = (torch.randint(0, 2, (T, B, D, N)).double() for _ in range(3))
    width = D // attention.heads
    bias = attention._bias(N, N)
    scores = torch.zeros(T, B, attention.heads, N, N, dtype=torch.double)
    for h in range(attention.heads):
        part = slice(h * width, (h + 1) * width)
        scores[:, :, h] = q[:, :, part].transpose(2, 3) @ k[:, :, part] + bias[h]
    fired = attention.score_neuron(scores)
    result = attention.attend(q, k, v)
    for h in range(attention.heads):
        part = slice(h * width, (h + 1) * width)
        expected = 0.25 * (fired[:, :, h] @ v[:, :, part].transpose(2, 3)).transpose(2, 3)
        torch.testing.assert_close(result[:, :, part], expected)
    assert 0 < fired.mean() < 1


@pytest.mark.parametrize("over", ["tokens", "channels"])
def test_query_key_attention_masks_the_keys(make_context: Make, over: str) -> None:
    torch.manual_seed(0)
    context = make_context(threshold=0.1)
    attention = QueryKeyAttention(context, over).double().train()
    attention.mask_neuron = context.neuron(threshold=2.5)
    x, y = streams()
    q, k = attention.query(x), attention.key(y)
    seen: list[Tensor] = []
    attention.projection.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    attention(x, y)
    (masked,) = seen
    if over == "channels":
        mask = attention.mask_neuron(q.sum(3, keepdim=True)).expand_as(k)
    else:
        width = D // attention.heads
        sums = torch.stack([q[:, :, h * width : (h + 1) * width].sum(2) for h in range(attention.heads)], 2)
        mask = attention.mask_neuron(sums.unsqueeze(3)).squeeze(3).repeat_interleave(width, dim=2)
    assert torch.equal(masked, mask * k)
    assert 0 < mask.mean() < 1


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


def test_a_readout_without_heads_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from scmrl_plugins.plugins.readouts.linear import Add

    monkeypatch.setattr(Add, "further_heads", False)
    with pytest.raises(
        UserError, match="fusion 'cmci' needs a joint stream or further heads, which readout 'add'"
    ):
        scmrl_plugins.build({"fusion": {"name": "cmci"}})


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


def test_a_strided_spiking_conv_is_a_shortcut(make_context: Make) -> None:
    layer = SpikingConv(2, 4, make_context().neuron, stride=4)
    assert layer(torch.randn(T, B, 2, 10, 9)).shape == (T, B, 4, 3, 3)
