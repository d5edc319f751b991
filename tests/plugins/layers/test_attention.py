"""Spiking attention against loops over samples, heads, tokens and steps.

Products of spikes are integers, and their sums exact in any order: these alone are compared to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fusion_cases import B, D, Make, N, T, streams
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.layers.attention import (
    SCALE,
    PositionedAttention,
    QueryKeyAttention,
    SpikingAttention,
    TemporalAttention,
    mix,
    response,
)
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv
from scmrl_plugins.plugins.neurons.lif import LIF
from scmrl_plugins.plugins.neurons.relu import ReLU
from scmrl_plugins.plugins.neurons.ternary import Ternary
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

MakeContext = Callable[..., Context]


def looped(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """(q k^T) v / 4 for ``[T, B, D, N], [T, B, D, M], [T, B, D, M]``, one query token at a time."""
    out = torch.zeros_like(q)
    width = q.shape[2] // heads
    for t in range(q.shape[0]):
        for b in range(q.shape[1]):
            for h in range(heads):
                own = slice(h * width, (h + 1) * width)  # a head is a contiguous group of channels
                for n in range(q.shape[3]):
                    for m in range(k.shape[3]):
                        score = q[t, b, own, n].dot(k[t, b, own, m])
                        out[t, b, own, n] += 0.25 * score * v[t, b, own, m]
    return out


def over_time(z: Tensor) -> Tensor:
    """Steps and tokens change places: ``[T, B, D, N] <-> [N, B, D, T]``."""
    return z.permute(3, 1, 2, 0)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_lif(threshold: float) -> Callable[..., LIF]:
    return lambda **settings: LIF(LIF.Config(**{"threshold": threshold, **settings}))


def test_the_factor_is_the_published_one() -> None:
    assert SCALE == 0.25


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attends_over_tokens_head_by_head(make_context: MakeContext, heads: int) -> None:
    attention = SpikingAttention(make_context(num_heads=heads))
    q, k, v = draw(3, 2, 8, 5, seed=1), draw(3, 2, 8, 4, seed=2), draw(3, 2, 8, 4, seed=3)
    torch.testing.assert_close(attention.attend(q, k, v), looped(q, k, v, heads), atol=1e-12, rtol=0)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attends_over_steps_head_by_head(make_context: MakeContext, heads: int) -> None:
    attention = TemporalAttention(make_context(num_heads=heads))
    q, k, v = (draw(3, 2, 8, 5, seed=seed) for seed in (1, 2, 3))
    expected = over_time(looped(over_time(q), over_time(k), over_time(v), heads))
    torch.testing.assert_close(attention.attend(q, k, v), expected, atol=1e-12, rtol=0)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    steps=st.integers(1, 4),
    batch=st.integers(1, 3),
    heads=st.sampled_from([1, 2, 3, 6]),
    tokens=st.integers(1, 4),
)
def test_published_order_reads_heads_and_steps_as_they_lie(
    seed: int, steps: int, batch: int, heads: int, tokens: int
) -> None:
    """Flat index h T + t is taken for t' heads + h', in numbers and in the equation of the corrected order."""
    context = Context(steps, 6, heads, 4, 2, {"visual": 1}, neuron=torch.nn.Identity)
    q, k, v = (draw(steps, batch, 6, tokens, seed=seed + i) for i in range(3))
    right = TemporalAttention(context, order="corrected").attend(q, k, v)
    read = TemporalAttention(context, order="published").attend(q, k, v)
    width = 6 // heads
    for h in range(heads):
        for t in range(steps):
            to_t, to_h = divmod(h * steps + t, heads)
            expected = right[t, :, h * width : (h + 1) * width]
            torch.testing.assert_close(read[to_t, :, to_h * width : (to_h + 1) * width], expected)
    # Equal where one of the two numbers is one, and nowhere else.
    assert torch.allclose(read, right) is (heads == 1 or steps == 1)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_products_is_exact_for_spikes(seed: int) -> None:
    """(q k^T) v and q (k^T v) count the same coincidences: integers, so equal to the bit in float32."""
    context = Context(2, 16, 2, 4, 2, {"visual": 1}, neuron=torch.nn.Identity)
    generator = torch.Generator().manual_seed(seed)
    q, k, v = ((torch.rand(2, 2, 16, 9, generator=generator) > 0.5).float() for _ in range(3))
    ours = SpikingAttention(context).attend(q, k, v)
    heads = [z.unflatten(2, (2, 8)) for z in (q, k, v)]
    other_way = torch.einsum("tbhdn,tbhem->tbhdenm", heads[0], heads[1])
    other_way = torch.einsum("tbhddnm,tbhem->tbhen", other_way, heads[2]).flatten(2, 3) * 0.25
    assert torch.equal(ours, other_way)
    assert torch.equal(ours, looped(q, k, v, 2))
    assert torch.equal(ours * 4, (ours * 4).round())


def test_heads_do_not_mix(make_context: MakeContext) -> None:
    for cls in (SpikingAttention, TemporalAttention):
        attention = cls(make_context(num_heads=2))
        q, k, v = (draw(3, 2, 8, 5, seed=seed) for seed in (1, 2, 3))
        before = attention.attend(q, k, v)
        for z in (q, k, v):
            z[:, :, 4:] += 1
        after = attention.attend(q, k, v)
        torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
        assert not torch.equal(before[:, :, 4:], after[:, :, 4:])


def test_temporal_attention_keeps_tokens_apart(make_context: MakeContext) -> None:
    for order in ("corrected", "published"):
        attention = TemporalAttention(make_context(), order=order)
        q, k, v = (draw(3, 2, 8, 5, seed=seed) for seed in (1, 2, 3))
        before = attention.attend(q, k, v)
        k[..., 3] += 1
        changed = (attention.attend(q, k, v) != before).any(0).any(0).any(0)
        assert changed.tolist() == [False, False, False, True, False]


def test_spatial_attention_keeps_steps_apart(make_context: MakeContext) -> None:
    attention = SpikingAttention(make_context())
    q, k, v = (draw(3, 2, 8, 5, seed=seed) for seed in (1, 2, 3))
    before = attention.attend(q, k, v)
    k[1] += 1
    changed = (attention.attend(q, k, v) != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]


def test_the_complete_layer_is_its_equation(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    attention = SpikingAttention(make_context(threshold=0.1)).double()
    x, y = draw(3, 2, 8, 5, seed=1), draw(3, 2, 8, 4, seed=2)
    out = attention(x, y)

    def layer(part: SpikingConv, z: Tensor) -> Tensor:
        z = torch.einsum("oc,tbcn->tbon", part.conv.weight[:, :, 0], z)
        mean, var = z.mean((0, 1, 3), keepdim=True), z.var((0, 1, 3), keepdim=True, unbiased=False)
        z = (z - mean) / (var + 1e-5).sqrt()
        z = z * part.bn.weight.view(-1, 1) + part.bn.bias.view(-1, 1)
        return part.neuron(z)

    attended = looped(layer(attention.query, x), layer(attention.key, y), layer(attention.value, y), 2)
    torch.testing.assert_close(out, layer(attention.projection, attention.neuron(attended)))
    assert 0 < out.mean() < 1
    assert all(part.conv.bias is None for part in (attention.query, attention.key, attention.projection))


def test_threshold_is_that_of_the_attentions_neuron_alone(make_context: MakeContext) -> None:
    attention = SpikingAttention(make_context(threshold=1.0), threshold=0.3)
    thresholds = {
        name.removesuffix(".threshold"): pytest.approx(float(value))
        for name, value in attention.named_parameters()
        if name.endswith("threshold")
    }
    assert thresholds == {
        "neuron": 0.3,
        "query.neuron": 1.0,
        "key.neuron": 1.0,
        "value.neuron": 1.0,
        "projection.neuron": 1.0,
    }


def test_heads_must_divide_the_channels(make_context: MakeContext) -> None:
    with pytest.raises(UserError, match=r"num_heads = 3 does not divide model\.embed_dims = 8"):
        SpikingAttention(make_context(num_heads=3))


def test_temporal_attention_wants_as_many_tokens(make_context: MakeContext) -> None:
    attention = TemporalAttention(make_context())
    with pytest.raises(UserError, match="one modality has 5 and the other 4"):
        attention(torch.randn(3, 2, 8, 5), torch.randn(3, 2, 8, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("n", "m", "d"), [(64, 64, 16), (4, 4, 16), (100, 3, 8), (3, 100, 8)])
def test_both_orders_of_attention_are_exact_for_spikes(n: int, m: int, d: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n)
    q, k, v = (torch.randint(0, 2, (2, size, d), generator=generator).to(dtype) for size in (n, m, m))
    exact = (q.long() @ k.long().transpose(1, 2)) @ v.long()
    assert torch.equal(mix(q, k, v), exact.to(dtype))
    assert torch.equal((q @ (k.mT @ v)).long() if dtype == torch.float64 else exact, exact)
    assert mix(q, k, v).dtype == dtype


def test_attention_takes_the_cheaper_order() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def operations(n: int, d: int) -> int:
        q = torch.ones(1, n, d)
        with FlopCounterMode(display=False) as flops:
            mix(q, q, q)
        return flops.get_total_flops()

    assert operations(64, 16) == 2 * (2 * 64 * 16 * 16)
    assert operations(4, 16) == 2 * (2 * 4 * 4 * 16)
    assert operations(4096, 16) == 4 * operations(1024, 16)


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


@settings(deadline=None, max_examples=30)
@given(
    rate=st.floats(0.02, 0.5),
    heads=st.sampled_from([1, 2, 4]),
    keys=st.integers(1, 40),
    steps=st.integers(1, 6),
    threshold=st.floats(0.1, 1.0),
)
def test_the_scale_makes_the_mean_current_the_threshold(
    rate: float, heads: int, keys: int, steps: int, threshold: float
) -> None:
    """With spikes of probability p everywhere, (q k^T) v s has the mean M d p^3 s."""
    context = Context(steps, 8, heads, 4, 2, {"visual": 1}, neuron=make_lif(threshold))
    attention = SpikingAttention(context, scale="auto")
    p, theta = response(attention.neuron, steps)
    ones = torch.ones(steps, 1, 8, keys)
    expected = torch.full_like(ones, rate**3 / p**3 * theta)
    torch.testing.assert_close(attention.attend(rate * ones, rate * ones, rate * ones), expected)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_a_neurons_response(steps: int) -> None:
    """A constant current x charges lif to x (1 - (1 - 1 / tau)^T); its rate at noise is that of a long run."""
    lif = make_lif(0.8)()
    rate, current = response(lif, steps)
    assert current == pytest.approx(0.8 / (1 - 0.5**steps), rel=0.012)  # the grid has steps of 1.2 %
    noise = torch.randn(steps, 1, 200_000, generator=torch.Generator().manual_seed(1))
    assert rate == pytest.approx(float(lif(noise).detach().mean()), rel=0.1)


def test_the_response_of_neurons_with_other_outputs() -> None:
    """A rectified unit has the output 1 at a current of 1, and a mean of 1 / sqrt(2 pi); both signs count."""
    rate, current = response(ReLU(ReLU.Config()), 1)
    assert (rate, current) == (pytest.approx(0.399, rel=0.05), pytest.approx(1, rel=0.012))
    signed, plain = response(Ternary(Ternary.Config()), 4), response(make_lif(1.0)(), 4)
    assert signed == (pytest.approx(2 * plain[0], rel=0.2), plain[1])


def test_calibration_draws_nothing(make_context: MakeContext) -> None:
    """The weights of a model do not depend on the scale."""
    states = []
    for scale in (0.25, "auto"):
        torch.manual_seed(0)
        attention = PositionedAttention(make_context(), scale=scale)
        states.append([*attention.state_dict().values(), torch.rand(1)])
    assert all(torch.equal(one, two) for one, two in zip(*states, strict=True))


def test_a_neuron_that_never_fires_has_no_scale() -> None:
    context = Context(3, 8, 2, 4, 2, {"visual": 1}, neuron=make_lif(50.0))
    with pytest.raises(UserError, match=r"attention_scale = 'auto'.*lower neuron\.threshold"):
        SpikingAttention(context, scale="auto")


def test_the_norm_is_before_the_neuron(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    attention = SpikingAttention(make_context(0.1), norm=True).double()
    x, y = streams()
    seen: list[Tensor] = []
    attention.neuron.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    attention(x, y)
    attended = attention.attend(attention.query(x), attention.key(y), attention.value(y))
    deviation = attended.var((0, 1, 3), unbiased=False, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(seen[0], (attended - attended.mean((0, 1, 3), keepdim=True)) / deviation)


def test_the_scores_of_a_positioned_attention_fire_with_auto() -> None:
    context = Context(4, 32, 2, 4, 2, {"visual": 1}, neuron=make_lif(1.0))
    generator = torch.Generator().manual_seed(0)
    x, y = ((torch.rand(4, 8, 32, 16, generator=generator) < 0.2).float() for _ in range(2))
    rates = {}
    for scale in (0.25, "auto"):
        torch.manual_seed(0)
        attention = PositionedAttention(context, scale=scale)
        seen: list[float] = []
        for neuron in (attention.score_neuron, attention.neuron):
            neuron.register_forward_hook(lambda _module, _given, out, seen=seen: seen.append(out.mean().item()))
        attention(x, y)
        rates[scale] = seen
    assert max(rates[0.25]) < 0.005
    assert all(0.005 < rate < 0.5 for rate in rates["auto"])
