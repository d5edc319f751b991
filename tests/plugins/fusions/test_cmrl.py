"""Cross-modal residual learning: its equation, attentions, thresholds and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.interfaces import ComponentConfig, Context
from scmrl_plugins.core.measure.operations import measure, random_inputs
from scmrl_plugins.core.model import assembly
from scmrl_plugins.plugins.fusions.cmrl import CMRL, CMRLLive, CrossModalResidual
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.catalogue import Entry

pytestmark = pytest.mark.numerical


MakeContext = Callable[..., Context]


ATTENTIONS = ["spatial", "temporal", "spatiotemporal"]


def cmrl(context: Context, **config: Any) -> CMRL:
    torch.manual_seed(0)
    return CMRL(CMRL.Config(**config), context)


def streams(steps: int = 3, batch: int = 4, tokens: int = 5, other: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    audio = torch.rand(steps, batch, 8, tokens, generator=generator) * 2
    return audio, torch.rand(steps, batch, 8, other or tokens, generator=generator) * 2


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_cmrl_adds_the_residual(make_context: MakeContext, attention: str, align: bool) -> None:
    config = {"attention": attention, "align": align, "alpha": 0.75, "projection_threshold": 0.003}
    fusion = cmrl(make_context(0.05), **config).eval()
    audio, visual = streams()
    fused = fusion(audio, visual)
    assert fused.residuals.keys() == {"audio", "visual"}
    torch.testing.assert_close(fused.audio, audio + 0.75 * fused.residuals["audio"])
    torch.testing.assert_close(fused.visual, visual + 0.75 * fused.residuals["visual"])
    for residual in fused.residuals.values():
        assert residual.shape == audio.shape
        assert residual.count_nonzero() > 0
        if align:
            assert set(residual.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(fused.residuals["audio"], fusion.audio_from_visual(audio, visual))
    torch.testing.assert_close(fused.residuals["visual"], fusion.visual_from_audio(visual, audio))


def test_spatiotemporal_residual_is_the_product_of_the_means(make_context: MakeContext) -> None:
    torch.manual_seed(0)
    block = CrossModalResidual(CMRL.Config(align=False), make_context(0.05)).eval()
    own, other = streams()
    spatial, temporal = block.spatial(own, other), block.temporal(own, other)
    out = block(own, other)
    for t in range(3):
        for n in range(5):
            expected = spatial[t].mean(-1) * temporal[..., n].mean(0)
            torch.testing.assert_close(out[t, ..., n], expected)
    assert out.count_nonzero() > 0


def test_the_two_directions_and_branches_have_their_own_weights(make_context: MakeContext) -> None:
    fusion = cmrl(make_context())
    weights = [
        getattr(block, branch).query.conv.weight
        for block in (fusion.audio_from_visual, fusion.visual_from_audio)
        for branch in ("spatial", "temporal")
    ]
    assert len({weight.data_ptr() for weight in weights}) == 4
    assert not any(torch.equal(weights[i], weights[j]) for i in range(4) for j in range(i))


def test_alpha_zero_leaves_the_streams(make_context: MakeContext) -> None:
    audio, visual = streams()
    fused = cmrl(make_context(0.05), alpha=0.0, projection_threshold=0.003)(audio, visual)
    assert torch.equal(fused.audio, audio)
    assert torch.equal(fused.visual, visual)
    assert fused.residuals["audio"].count_nonzero() > 0


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradients_reach_both_modalities(make_context: MakeContext, attention: str) -> None:
    fusion = cmrl(make_context(0.05), attention=attention)
    audio, visual = (x.requires_grad_() for x in streams())
    fused = fusion(audio, visual)
    weight = torch.randn(fused.residuals["audio"].shape, generator=torch.Generator().manual_seed(9))
    for residual in fused.residuals.values():
        grads = torch.autograd.grad((residual * weight).sum(), (audio, visual), retain_graph=True)
        assert all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_samples_are_permutation_equivariant(make_context: MakeContext, attention: str) -> None:
    fusion = cmrl(make_context(0.05), attention=attention)
    audio, visual = streams(batch=5)
    fusion(audio, visual)
    fusion.eval()
    order = torch.tensor([3, 0, 4, 1, 2])
    fused, permuted = fusion(audio, visual), fusion(audio[:, order], visual[:, order])
    torch.testing.assert_close(permuted.audio, fused.audio[:, order])
    torch.testing.assert_close(permuted.visual, fused.visual[:, order])
    assert not torch.equal(fused.audio, fused.audio[:, order])


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_number_of_steps(make_context: MakeContext, attention: str, steps: int) -> None:
    fused = cmrl(make_context(), attention=attention)(*streams(steps=steps))
    assert fused.audio.shape == (steps, 4, 8, 5)


def test_spatial_attention_takes_other_numbers_of_tokens(make_context: MakeContext) -> None:
    audio, visual = streams(tokens=5, other=3)
    fused = cmrl(make_context(0.05), attention="spatial")(audio, visual)
    assert fused.audio.shape == audio.shape
    assert fused.visual.shape == visual.shape


@pytest.mark.parametrize("attention", ["temporal", "spatiotemporal"])
def test_the_others_say_what_to_do(make_context: MakeContext, attention: str) -> None:
    with pytest.raises(UserError, match=r"set fusion\.attention = 'spatial'"):
        cmrl(make_context(), attention=attention)(*streams(tokens=5, other=3))


def thresholds(module: nn.Module) -> dict[str, float]:
    return {
        name: round(float(value), 6) for name, value in module.named_parameters() if name.endswith("threshold")
    }


def test_thresholds_are_those_of_the_attention_and_the_projection_alone(make_context: MakeContext) -> None:
    plain = thresholds(cmrl(make_context(1.0)))
    changed = thresholds(cmrl(make_context(1.0), attention_threshold=0.5, projection_threshold=0.25))
    assert set(plain.values()) == {1.0}
    assert changed.keys() == plain.keys()
    differing = {name: value for name, value in changed.items() if value != 1.0}
    blocks = ("audio_from_visual", "visual_from_audio")
    assert differing == {
        **{f"{b}.{branch}.neuron.threshold": 0.5 for b in blocks for branch in ("spatial", "temporal")},
        **{f"{b}.project.neuron.threshold": 0.25 for b in blocks},
    }


def test_only_the_other_settings_of_the_neuron_are_kept() -> None:
    config = layers.compose(sets=["neuron.tau=3.0", "neuron.threshold=0.5", "fusion.attention_threshold=0.25"])
    fusion = assembly.assemble(config).model.fusion
    changed, plain = fusion.audio_from_visual.spatial.neuron, fusion.audio_from_visual.spatial.query.neuron
    assert (float(changed.threshold), changed.tau) == (0.25, 3.0)
    assert (float(plain.threshold), plain.tau) == (0.5, 3.0)


def test_a_lower_threshold_wakes_a_dead_attention(make_context: MakeContext) -> None:
    """The attention's neuron sees a quarter of a count of coincidences, which a threshold of 1 may silence."""
    audio, visual = (x * (x > 1.8) for x in streams())
    rates = []
    for threshold in (30.0, 0.1):
        fusion = cmrl(make_context(0.05), attention="spatial", align=False, attention_threshold=threshold)
        rates.append(fusion(audio, visual).residuals["audio"].mean().item())
    assert rates[0] == 0 < rates[1]


def test_default_losses(make_context: MakeContext) -> None:
    assert cmrl(make_context()).default_losses == ("ce", "sao")
    assert cmrl(make_context(), align=False).default_losses == ("ce",)


@pytest.mark.parametrize(("align", "names"), [(True, ["ce", "sao"]), (False, ["ce"])])
def test_default_losses_are_taken(align: bool, names: list[str]) -> None:
    parts = assembly.assemble(layers.compose(options={"fusion": {"name": "cmrl", "align": align}}))
    assert parts.loss.names == names
    assert [section.name for section in parts.config.loss] == names


class Thresholdless(nn.Identity):
    """A neuron of a third party that has no threshold to set."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__()


def test_a_threshold_that_the_neuron_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("neuron", "flat", f"{__name__}:Thresholdless", "none", catalogue().plugins[0])
    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, entry])
    assembly.assemble(layers.compose(options={"neuron": {"name": "flat"}}))
    options = {"neuron": {"name": "flat"}, "fusion": {"name": "cmrl", "attention_threshold": 0.5}}
    with pytest.raises(UserError, match=r"neuron 'flat' has no 'threshold'"):
        assembly.assemble(layers.compose(options=options))


def test_both_modalities_matter_to_the_fused_models() -> None:
    for fusion in ("cmrl", "late"):
        options = {"fusion": {"name": fusion}, "neuron": {"threshold": 0.2}}
        model = assembly.assemble(layers.compose(options=options)).model
        torch.manual_seed(0)
        audio, visual = torch.randn(4, 1, 16, 16), torch.randn(4, 1, 16, 16)
        model(audio, visual)
        model.eval()
        whole = model(audio, visual).logits
        assert not torch.equal(whole, model(audio.flip(0), visual).logits), fusion
        assert not torch.equal(whole, model(audio, visual.flip(0)).logits), fusion


def test_the_projection_with_batch_norm_is_its_equation(make_context: MakeContext) -> None:
    block = cmrl(make_context(0.2), attention="spatial", projection_norm=True).audio_from_visual
    residual = (streams()[0] > 1).float()
    z = torch.einsum("ed,tbdn->tben", block.project.linear.weight, residual)
    z = (z - z.mean((0, 1, 3), keepdim=True)) / (z.var((0, 1, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(block.project(residual), block.project.neuron(z))


SIZES = [(16, 16, 2, 4), (16, 32, 4, 4), (28, 64, 4, 4), (28, 64, 4, 1), (64, 128, 8, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dims", "heads", "steps"), SIZES)
def test_cmrl_live_fires_from_the_start(size: int, dims: int, heads: int, steps: int) -> None:
    """Every neuron layer of the fusion has a rate between 0.5 % and 50 %; those of ``cmrl`` do not."""
    rates = {}
    for name in ("cmrl_live", "cmrl"):
        sizes = {"image_size": size, "embed_dims": dims, "num_heads": heads, "steps": steps}
        config = layers.compose(options={"fusion": {"name": name, "align": True}, "model": sizes})
        model, _ = assembly.assemble_model(config, ["a", "b"], {"audio": 1, "visual": 3})
        measured, _ = measure(model, random_inputs(model, torch.device("cpu")))
        rates[name] = {layer: r for layer, r in measured.firing_rates.items() if layer.startswith("fusion.")}
    assert all(0.005 < rate < 0.5 for rate in rates["cmrl_live"].values()), rates["cmrl_live"]
    assert min(rates["cmrl"].values()) < 0.005


def test_cmrl_live_is_cmrl_with_other_settings(make_context: MakeContext) -> None:
    """The same parameters by name, so that one model's weights are read by the other."""
    live = CMRLLive(CMRLLive.Config(align=True), make_context())
    plain = cmrl(make_context(), attention="spatial", projection_norm=True)
    assert live.state_dict().keys() == plain.state_dict().keys()
    changed = {
        name
        for name, field in CMRLLive.Config.model_fields.items()
        if field.default != CMRL.Config.model_fields[name].default
    }
    assert changed == {"attention", "attention_scale", "align", "projection_norm"}
