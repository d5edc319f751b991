"""What fusions with two directions share: the own-fed control, and the residual connection."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fusion_cases import B, D, Make, N, T, built
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.interfaces import Fused
from scmrl_plugins.plugins.fusions.bilinear import Bilinear
from scmrl_plugins.plugins.fusions.cmqka import CMQKA
from scmrl_plugins.plugins.fusions.cmrl import CMRL, CMRLLive
from scmrl_plugins.plugins.fusions.perceptron import Perceptron
from scmrl_plugins.plugins.fusions.sca import SCA
from scmrl_plugins.plugins.fusions.summary import Summary

pytestmark = pytest.mark.numerical

TWO_WAY = [CMRL, CMRLLive, CMQKA, SCA, Summary, Bilinear, Perceptron]
FIRING: dict[Any, dict[str, float]] = {CMRL: {"projection_threshold": 0.003}}
"""Settings without which the residual is silent in a small model."""
SUMMARY = [Summary, Bilinear, Perceptron]


def spikes(seed: int, tokens: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (T, B, D, tokens), generator=generator).double()


def stream(fused: Fused, name: str) -> Tensor:
    result = {"audio": fused.audio, "visual": fused.visual}[name]
    assert result is not None
    return result


@pytest.mark.parametrize("cls", TWO_WAY)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds=st.lists(st.integers(0, 10_000), min_size=3, max_size=3, unique=True), training=st.booleans())
def test_nothing_crosses_in_the_own_fed_control(
    make_context: Make, cls: Any, seeds: list[int], training: bool
) -> None:
    """A stream is to the bit the same whatever the other one is, with batch statistics too."""
    control = built(cls, make_context(0.05), partner="own", **FIRING.get(cls, {})).train(training)
    first, other, another = (spikes(seed) for seed in seeds)
    for name, pairs in (
        ("audio", [(first, other), (first, another)]),
        ("visual", [(other, first), (another, first)]),
    ):
        one, two = (control(*pair) for pair in pairs)
        assert torch.equal(stream(one, name), stream(two, name))
        if one.residuals:
            assert torch.equal(one.residuals[name], two.residuals[name])


@pytest.mark.parametrize("cls", TWO_WAY)
def test_the_control_is_the_fusion_with_other_inputs(make_context: Make, cls: Any) -> None:
    """The same parameters, and the result of the fusion for a stream that is its own partner."""
    fusion, control = (
        built(cls, make_context(0.05), partner=partner, **FIRING.get(cls, {})) for partner in ("other", "own")
    )
    assert {n: p.shape for n, p in fusion.state_dict().items()} == {
        n: p.shape for n, p in control.state_dict().items()
    }
    assert (fusion.interacts, control.interacts) == (True, False)
    audio, visual = spikes(1), spikes(2)
    fused = control(audio, visual)
    assert torch.equal(fused.audio, fusion(audio, audio).audio)
    assert torch.equal(fused.visual, fusion(visual, visual).visual)


@pytest.mark.parametrize("cls", TWO_WAY)
def test_the_partner_matters_by_default(make_context: Make, cls: Any) -> None:
    fusion = built(cls, make_context(0.05), **FIRING.get(cls, {})).train()
    audio = spikes(1)
    assert not torch.equal(fusion(audio, spikes(2)).audio, fusion(audio, spikes(3)).audio)


@pytest.mark.parametrize("cls", [CMRL, CMRLLive, *SUMMARY])
def test_the_residual_is_added_with_its_weight(make_context: Make, cls: Any) -> None:
    fusion = built(cls, make_context(0.05), alpha=0.5, **FIRING.get(cls, {})).train()
    audio, visual = spikes(1), spikes(2)
    fused = fusion(audio, visual)
    assert torch.equal(fused.audio, audio + 0.5 * fused.residuals["audio"])
    assert torch.equal(fused.visual, visual + 0.5 * fused.residuals["visual"])
    assert all(r.count_nonzero() for r in fused.residuals.values())


@pytest.mark.parametrize("cls", SUMMARY)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), other=st.integers(1, 12))
def test_a_summary_reaches_every_token(make_context: Make, cls: Any, seed: int, other: int) -> None:
    """The residual is binary, the same for all tokens, and blind to the order of tokens in either stream."""
    fusion = built(cls, make_context(0.05))
    audio, visual = spikes(seed), spikes(seed + 1, other)
    r = fusion(audio, visual).residuals["audio"]
    assert torch.equal(r, r[..., :1].expand_as(audio))
    assert set(r.unique().tolist()) <= {0.0, 1.0}
    mixed = fusion(audio.flip(3), visual.roll(1, 3)).residuals["audio"]
    assert (mixed != r).double().mean() < 0.02  # a mean is summed in another order


@pytest.mark.parametrize("cls", SUMMARY)
def test_a_summary_costs_no_more_for_more_tokens(make_context: Make, cls: Any) -> None:
    """The products are those of the summary alone, however many tokens there are."""
    from torch.utils.flop_counter import FlopCounterMode

    fusion = built(cls, make_context())
    counts = []
    for tokens in (16, 256):
        with FlopCounterMode(display=False) as flops:
            fusion(spikes(0, tokens), spikes(1, tokens))
        counts.append(flops.get_total_flops())
    assert counts[0] == counts[1] > 0
