"""From a configuration to a model: determinism, the model's checks of its input, and what it costs.

What is compared to the bit is copied, drawn under one seed, or computed twice by the same call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from blob_data import Blobs
from torch import Tensor, nn

from scmrl_plugins import build
from scmrl_plugins.core.config import layers
from scmrl_plugins.core.interfaces import Fusion, ModelOutput
from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.measure.firing import FiringRates
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.assembly import Assembly, Objective
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def test_weights_follow_from_the_seed_alone(small: Small) -> None:
    states = []
    for global_seed, seed in ((0, 1), (1, 1), (1, 2)):
        torch.manual_seed(global_seed)
        states.append(small(sets=[f"train.seed={seed}"]).model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_torchs_generator_is_left_as_it_was(small: Small) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    small()
    assert torch.equal(torch.rand(4), expected)


def test_build_takes_what_as_config_takes() -> None:
    model = build({"fusion": {"name": "late"}, "dataset": {"name": "blobs"}})
    assert model.config.fusion.name == "late"
    assert model(torch.randn(2, 1, 8, 8), torch.randn(2, 2, 8, 8)).logits.shape == (2, 3)
    with pytest.raises(UserError, match="did you mean 'late'"):
        build({"fusion": {"name": "lat"}})


def test_the_neuron_reaches_every_layer(small: Small) -> None:
    parts = small(neuron={"name": "PLIFNode"}, backbone={"depth": 1})
    kinds = {type(module).__name__ for module in parts.model.modules() if "Node" in type(module).__name__}
    assert kinds == {"PLIFNode"}
    assert FiringRates(parts.model).rates.keys() == {
        name for name, module in parts.model.named_modules() if name.endswith("neuron")
    }


def test_the_resolved_configuration_names_every_default(small: Small) -> None:
    config = small().config
    assert config.neuron.options == {
        "tau": 2.0,
        "threshold": 0.3,
        "surrogate": "sigmoid",
        "alpha": 4.0,
        "detach_membrane": True,
    }
    assert [section.name for section in config.loss] == ["ce", "sao"]
    assert config.loss[1].options == {"temperature": 0.07}
    assert config.dataset.options == {"seed": 0, "spread": 0.3}


def test_messages_on_unknown_components_and_options_name_their_source() -> None:
    with pytest.raises(UserError, match=r"unknown readout 'ad' .*in --set readout\.name=ad"):
        assembly.assemble(layers.compose(sets=["readout.name=ad"]))
    with pytest.raises(UserError, match=r"loss\.0\.temperatur: unknown key"):
        assembly.assemble(layers.compose(options={"loss": [{"name": "sao", "temperatur": 1.0}]}))


def test_objective_is_the_weighted_sum() -> None:
    class Term(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor(value))

        def forward(self, output: ModelOutput, target: torch.Tensor) -> torch.Tensor:
            return self.value * output.logits.sum()

    objective = Objective(["a", "b"], [Term(2.0), Term(3.0)], [1.0, -0.5])
    total, terms = objective(ModelOutput(torch.ones(2, 2)), torch.zeros(2))
    assert total.item() == 4 * (2 - 1.5)
    assert {name: value.item() for name, value in terms.items()} == {"a": 8.0, "b": 12.0}
    total.backward()
    assert [term.value.grad.item() for term in objective.terms] == [4.0, -2.0]


# The model's input ------------------------------------------------------------------------------------


def test_static_and_repeated_inputs_are_the_same(small: Small) -> None:
    model = small().model.eval()
    audio, visual = torch.randn(3, 1, 8, 8), torch.randn(3, 2, 8, 8)
    repeated = [x.unsqueeze(1).repeat(1, 2, 1, 1, 1) for x in (audio, visual)]
    torch.testing.assert_close(model(audio, visual).logits, model(*repeated).logits)


@pytest.mark.parametrize(
    ("audio", "visual", "says"),
    [
        ((3, 2, 8, 8), (3, 2, 8, 8), r"audio has shape \[3, 2, 8, 8\], this model takes \[B, 1, 8, 8\]"),
        ((3, 1, 8, 9), (3, 2, 8, 8), "audio has shape"),
        ((3, 1, 8, 8), (3, 2, 16, 16), "visual has shape"),
        ((1, 8, 8), (3, 2, 8, 8), "audio has shape"),
        ((1, 1, 2, 1, 8, 8), (3, 2, 8, 8), "audio has shape"),
        ((3, 5, 1, 8, 8), (3, 2, 8, 8), r"set model\.steps = 5"),
        ((3, 1, 8, 8), (4, 2, 8, 8), r"different batch sizes: \[3, 4\]"),
        (None, (3, 2, 8, 8), "'cmrl' needs audio"),
        ((3, 1, 8, 8), None, "'cmrl' needs visual"),
    ],
)
def test_wrong_inputs_are_named(
    small: Small, audio: tuple[int, ...] | None, visual: tuple[int, ...] | None, says: str
) -> None:
    x, y = (None if shape is None else torch.randn(shape) for shape in (audio, visual))
    with pytest.raises(UserError, match=says):
        small().model(x, y)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_inputs_that_are_not_finite_are_named(small: Small, value: float) -> None:
    """A comparison with NaN is false: the neuron would not fire, and the model would return a class."""
    audio, visual = torch.randn(3, 1, 8, 8), torch.randn(3, 2, 8, 8)
    visual[1, 0, 3, 3] = value
    model = small().model
    for mode in (True, False):
        with pytest.raises(UserError, match="visual has values that are not finite, in sample 1: correct"):
            model.train(mode)(audio, visual)


def test_no_state_is_left_between_calls(small: Small) -> None:
    model = small(fusion={"name": "cmrl", "projection_threshold": 0.05}).model.eval()
    generator = torch.Generator().manual_seed(0)
    audio, visual = (torch.randn(3, c, 8, 8, generator=generator) for c in (1, 2))
    first = model(audio, visual).logits
    model(audio * 3, visual - 1)
    assert torch.equal(model(audio, visual).logits, first)


def test_gradients_reach_every_parameter(small: Small) -> None:
    thresholds = {"attention_threshold": 0.2, "projection_threshold": 0.01}
    parts = small(fusion={"name": "cmrl", **thresholds}, neuron={"threshold": 0.2})
    inputs = operations.random_inputs(parts.model, torch.device("cpu"), batch=6)
    loss, _ = parts.loss(parts.model(**inputs), torch.arange(6) % 3)
    loss.backward()
    for name, parameter in parts.model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert parts.model.fusion.audio_from_visual.project.linear.weight.grad.abs().sum() > 0


# Frozen parts -----------------------------------------------------------------------------------------

SCALED = {"backbone": {"name": "qkformer"}, "fusion": {"name": "cmqka", "scales": 2}}


@pytest.mark.parametrize("sections", [{}, SCALED])
@pytest.mark.parametrize("feed_forward_learns", [False, True])
def test_what_is_frozen_before_the_fusion_runs_as_in_inference(
    small: Small, sections: dict[str, Any], feed_forward_learns: bool
) -> None:
    parts = small(model={"embed_dims": 16}, **sections)
    model = parts.model.eval()
    inputs = operations.random_inputs(model, torch.device("cpu"), 4)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(**inputs).logits.square().sum().backward()
        return {name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}

    complete = gradients()
    backbone = model.backbones["audio"]
    learning = (
        {id(x) for module in backbone.after_fusion for x in module.parameters()} if feed_forward_learns else ()
    )
    for x in backbone.parameters():
        if id(x) not in learning:
            x.requires_grad_(False)
    recorded: dict[str, bool] = {}
    for name, module in model.named_modules():
        if name.startswith("backbones") and not list(module.children()):
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: recorded.update({name: output.requires_grad})
            )
    left = gradients()
    assert left.keys() == {name for name, x in model.named_parameters() if x.requires_grad and name in complete}
    for name, gradient in left.items():
        torch.testing.assert_close(gradient, complete[name], rtol=1e-4, atol=1e-6)
    first = {name for name in recorded if name.startswith(("backbones.audio.patches", "backbones.audio.stages.0"))}
    assert first
    assert not any(recorded[name] for name in first)
    # What follows a fusion block passes its gradients on, and so does what an input needs.
    assert all(
        needs for name, needs in recorded.items() if name.startswith(("backbones.visual.", "backbones.audio.mlp"))
    )
    inputs["audio"].requires_grad_()
    gradients()
    assert inputs["audio"].grad is not None


def test_blocks_between_stages_need_stages(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fusion, "between", (nn.Identity(),))
    with pytest.raises(UserError, match=r"'late' has blocks between .*'spikformer' has no stages: choose another"):
        small(fusion={"name": "late"})


def test_the_name_of_a_class_has_a_limit(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blobs, "classes", ("one", "t" * 501))
    with pytest.raises(UserError, match=r"^data set 'blobs': the name of a class has 501 char.* 500$"):
        small()
    monkeypatch.setattr(Blobs, "classes", ("one", "t" * 500))
    small()
