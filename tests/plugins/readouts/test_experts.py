"""A product of experts: its equation, what an interaction adds, and the heads of single models."""

from __future__ import annotations

import pytest
import torch
from fusion_cases import Make, streams
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import scmrl_plugins
from scmrl_plugins.core.interfaces import Fused
from scmrl_plugins.plugins.readouts.experts import Experts

pytestmark = pytest.mark.numerical


def inputs(seed: int = 0) -> Fused:
    audio, visual = (x.float() for x in streams(seed=seed))
    alone = dict(zip(("audio", "visual"), (x.float() for x in streams(tokens=4, seed=seed + 1)), strict=True))
    return Fused(audio, visual, residuals={"audio": visual}, unimodal=alone)


def made(context: Make, **options: float) -> Experts:
    torch.manual_seed(0)
    readout = Experts(Experts.Config(**options), context())
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.normal_()
    return readout


def test_the_logits_are_their_equation(make_context: Make) -> None:
    readout, fused = made(make_context, weight=0.5), inputs()
    out = readout(fused)
    assert fused.audio is not None
    assert fused.visual is not None
    z = readout.interaction(torch.cat([fused.audio.mean((0, 3)), fused.visual.mean((0, 3))], 1))
    expected: Tensor = z
    for name, stream in fused.unimodal.items():
        own = readout.experts[name](stream.mean((0, 3)))
        torch.testing.assert_close(out.aux_logits[name], own)
        expected = expected + 0.5 * (own.softmax(1) + 1e-30).log()
    torch.testing.assert_close(out.logits, expected)
    assert out.step_logits is not None
    torch.testing.assert_close(out.step_logits.mean(0), out.logits)
    assert out.aligned is not None
    assert out.aligned.keys() == {"audio"}


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_without_an_interaction_it_is_the_product_of_experts(make_context: Make, seed: int) -> None:
    """p(y) = p_a(y) p_v(y) / sum_k p_a(k) p_v(k), whatever the fused streams are."""
    readout, fused = made(make_context), inputs(seed)
    torch.nn.init.zeros_(readout.interaction.weight)
    torch.nn.init.zeros_(readout.interaction.bias)
    out = readout(fused)
    product = torch.stack([logits.softmax(1) for logits in out.aux_logits.values()]).prod(0)
    torch.testing.assert_close(out.logits.softmax(1), product / product.sum(1, keepdim=True))


def test_experts_that_know_nothing_leave_the_decision_to_the_interaction(make_context: Make) -> None:
    readout, fused = made(make_context), inputs()
    for head in readout.experts.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    z = readout.interaction(torch.cat([stream.mean((0, 3)) for stream in fused.streams()], 1))
    torch.testing.assert_close(readout(fused).logits.softmax(1), z.softmax(1))


@pytest.mark.slow
def test_the_experts_of_a_model_do_not_see_the_other_modality() -> None:
    """In a model, an expert predicts what its backbone and its head alone predict."""
    model = scmrl_plugins.build(
        {"fusion": {"name": "perceptron"}, "readout": {"name": "experts"}, "neuron": {"threshold": 0.3}}
    ).eval()
    torch.nn.init.normal_(model.readout.interaction.weight)
    audio, visual, other = (torch.randn(3, 1, 16, 16) for _ in range(3))
    first, second = model(audio, visual), model(audio, other)
    torch.testing.assert_close(first.aux_logits["audio"], second.aux_logits["audio"])
    assert not torch.allclose(first.aux_logits["visual"], second.aux_logits["visual"])
    assert not torch.allclose(first.logits, second.logits)
    backbone = model.backbones["audio"]
    alone = backbone.feed_forward(backbone(model.encoders["audio"](audio))).mean((0, 3))
    torch.testing.assert_close(first.aux_logits["audio"], model.readout.head_of("audio")(alone))


@pytest.mark.slow
def test_one_modality_has_one_expert() -> None:
    model = scmrl_plugins.build({"fusion": {"name": "visual"}, "readout": {"name": "experts"}}).eval()
    assert model(None, torch.randn(2, 1, 16, 16)).aux_logits.keys() == {"visual"}
