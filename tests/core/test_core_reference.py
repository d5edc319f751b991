"""The published model: golden numbers, weights that do not fit, and the two orders of temporal attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core import assembly, compose
from scmrl_plugins.core.model import AudioVisualModel
from scmrl_plugins.core.reference import build_from_reference, reference_parameters
from scmrl_plugins.registry import UserError, catalogue

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    "cmci",
    "cmrl_shallow_events",
    "cmrl_spatial",
    "cmrl_spatiotemporal_aligned",
    "cmrl_temporal",
    "late_add",
    "late_concat",
    "unimodal_visual",
    "weight_attention",
]
NEURONS: dict[str, dict[str, Any] | None] = {
    "lif": None,
    "braincog": {
        "name": "braincog:LIFNode",
        "threshold": 1.0,
        "tau": 2.0,
        "surrogate": "sigmoid",
        "alpha": 4.0,
    },
}


class Golden:
    """One file: its configuration and its tensors, in float64, by the part before the first slash."""

    def __init__(self, name: str) -> None:
        with safe_open(GOLDEN / f"{name}.safetensors", framework="pt") as file:
            self.config: dict[str, Any] = json.loads(file.metadata()["config"])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def __getitem__(self, key: str) -> Tensor:
        tensor = self.tensors[key]
        return tensor.double() if tensor.is_floating_point() else tensor

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def group(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): self[key] for key in self.tensors if key.startswith(prefix)}

    def model(self, neuron: dict[str, Any] | None = None) -> AudioVisualModel:
        return build_from_reference(self.config, self.group("state/"), neuron)

    def inputs(self) -> dict[str, Tensor | None]:
        unimodal = self.config["unimodal"]
        return {"audio": None if unimodal else self["in/audio"], "visual": self["in/visual"]}


def close(ours: Tensor, golden: Tensor, what: str) -> None:
    assert ours.dtype == golden.dtype, what
    torch.testing.assert_close(ours, golden, atol=1e-9, rtol=0, msg=lambda text: f"{what}: {text}")


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_golden_number(golden: Golden, neuron: str) -> None:
    model = golden.model(NEURONS[neuron])
    expected_type = catalogue().get("neuron", (NEURONS[neuron] or {"name": "lif"})["name"]).load()
    assert model.neuron_type is expected_type
    check_every_number(golden, model)


def check_every_number(golden: Golden, model: AudioVisualModel) -> None:
    """Logits, features, losses, gradients and running statistics: evaluation, then one training step."""
    target = golden["in/label"]

    model.eval()
    close(model(**golden.inputs()).logits, golden["eval/logits"], "eval/logits")

    model.train()
    out = model(**golden.inputs())
    close(out.logits, golden["train/logits"], "train/logits")
    features = {name for name in ("audio", "visual") if f"train/{name}_feature" in golden}
    ours = out.aux_logits or out.aligned or {}  # of CMCI the two modalities' heads
    assert features == ours.keys()
    for name in features:
        close(ours[name], golden[f"train/{name}_feature"], f"train/{name}_feature")

    loss = F.cross_entropy(out.logits, target)
    close(loss, golden["train/loss_ce"], "train/loss_ce")
    for logits in out.aux_logits.values():
        loss = loss + F.cross_entropy(logits, target)
    assert golden.config["contrastive"] == ("train/loss_align" in golden)
    if golden.config["contrastive"]:
        sao = catalogue().get("loss", "sao").load()
        align = sao(sao.Config(temperature=golden.config["temperature"]), None)(out, target)
        close(align, golden["train/loss_align"], "train/loss_align")
        loss = loss + align
    close(loss, golden["train/loss"], "train/loss")

    loss.backward()
    parameters = reference_parameters(model)
    grads = golden.group("grad/")
    learned = {name for name, value in parameters.items() if value.requires_grad}
    if golden.config["attn_method"] == "CMCI":  # vision's block runs, and its output is dropped
        dropped = {name for name in learned if name.startswith("block.1.")}
        assert all(parameters[name].grad is None for name in dropped)
        learned -= dropped
    assert learned == grads.keys()
    for name, grad in grads.items():
        assert parameters[name].grad is not None, name
        close(parameters[name].grad, grad, f"grad/{name}")
    assert any(grad.abs().max() > 1e-4 for grad in grads.values())

    after = golden.group("after/")
    assert {name for name in parameters if "running_" in name} == {n for n in after if "running_" in n}
    for name, value in after.items():
        close(parameters[name], value, f"after/{name}")


def test_the_loss_of_the_configuration_is_the_published_one(golden: Golden) -> None:
    """The sections that the sizes are turned into make the golden loss by themselves."""
    model = golden.model()
    objective = assembly.assemble_model(model.config, model.classes, model.channels)[1]
    total, terms = objective(model.train()(**golden.inputs()), golden["in/label"])
    close(total, golden["train/loss"], "train/loss")
    if golden.config["attn_method"] != "CMCI":  # there ``ce`` is of all three heads
        close(terms["ce"], golden["train/loss_ce"], "train/loss_ce")


def test_names_are_the_published_ones_and_the_tensors_alive(golden: Golden) -> None:
    model = golden.model()
    ours = reference_parameters(model)
    state = golden.group("state/")
    for name, tensor in ours.items():
        assert torch.equal(tensor, state[name]), name
    live = {id(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    assert {id(tensor) for tensor in ours.values()} <= live


def test_weights_keep_their_type() -> None:
    golden = Golden("late_add")
    state = {key.removeprefix("state/"): t for key, t in golden.tensors.items() if key.startswith("state/")}
    model = build_from_reference(golden.config, state)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    out = model.eval()(**{name: x.float() for name, x in golden.inputs().items() if x is not None})
    torch.testing.assert_close(out.logits.double(), golden["eval/logits"], atol=1e-4, rtol=0)


def test_missing_extra_and_misshapen_weights_are_named() -> None:
    golden = Golden("late_add")
    state = golden.group("state/")
    with pytest.raises(UserError, match=r"lack 'head\.bias'"):
        build_from_reference(golden.config, {k: t for k, t in state.items() if k != "head.bias"})
    with pytest.raises(UserError, match=r"hold 'head\.scale'"):
        build_from_reference(golden.config, state | {"head.scale": torch.ones(1)})
    with pytest.raises(UserError, match=r"'head\.bias' has shape \[1\]"):
        build_from_reference(golden.config, state | {"head.bias": torch.ones(1, dtype=torch.float64)})
    with pytest.raises(UserError, match="hold '"):
        build_from_reference(golden.config | {"shallow_sps": True}, state)
    with pytest.raises(UserError, match="lack '"):
        build_from_reference(golden.config, {})


def test_methods_and_factors_that_are_not_here_are_named() -> None:
    golden = Golden("cmrl_spatial")
    state = golden.group("state/")
    with pytest.raises(UserError, match="'Channel' is not here; there are Spatial, Temporal, SpatialTemporal"):
        build_from_reference(golden.config | {"attn_method": "Channel"}, state)
    with pytest.raises(UserError, match=r"scale 0\.5 is not here"):
        build_from_reference(golden.config | {"scale": 0.5}, state)


def test_a_model_of_another_kind_has_no_published_names() -> None:
    model = assembly.assemble(compose.compose(sets=["backbone.depth=1"])).model
    with pytest.raises(UserError, match="no published counterpart"):
        reference_parameters(model)


def corrected(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """The paper's temporal attention in one einsum a product: ``[T, B, D, N] -> [T, B, D, N]``."""
    q, k, v = (z.unflatten(2, (heads, -1)) for z in (q, k, v))
    scores = torch.einsum("tbhdn,sbhdn->tsbhn", q, k)
    return torch.einsum("tsbhn,sbhdn->tbhdn", scores, v).flatten(2, 3) * 0.25


def test_the_corrected_order_is_the_papers_equation_and_differs_from_the_published_one() -> None:
    golden = Golden("cmrl_temporal")
    assert golden.config["num_heads"] > 1
    published = golden.model()
    fusion = published.config.fusion
    other = published.config.model_copy(
        update={"fusion": fusion.model_copy(update={"temporal_order": "corrected"})}
    )
    model, _ = assembly.assemble_model(other, published.classes, published.channels)
    model.double().load_state_dict(published.state_dict())
    logits = [m.eval()(**golden.inputs()).logits for m in (published, model)]
    close(logits[0], golden["eval/logits"], "eval/logits")
    assert (logits[1] - golden["eval/logits"]).abs().max() > 1e-6

    heads = golden.config["num_heads"]
    for block in (model.fusion.audio_from_visual, model.fusion.visual_from_audio):
        seen: list[Tensor] = []
        attention = block.temporal
        attention.neuron.register_forward_pre_hook(lambda _module, args, seen=seen: seen.append(args[0]))
        spikes: dict[str, Tensor] = {}
        for part in ("query", "key", "value"):
            getattr(attention, part).register_forward_hook(
                lambda _module, _args, out, part=part, spikes=spikes: spikes.__setitem__(part, out)
            )
        model(**golden.inputs())
        expected = corrected(spikes["query"], spikes["key"], spikes["value"], heads)
        assert torch.equal(seen[0], expected)  # integers over four: exact in any order
        assert expected.count_nonzero() > 0


def test_the_orders_agree_with_one_head() -> None:
    results = []
    for order in ("corrected", "published"):
        options = {
            "fusion": {"name": "cmrl", "attention": "temporal", "temporal_order": order},
            "neuron": {"threshold": 0.1},
            "model": {"num_heads": 1},
        }
        model = assembly.assemble(compose.compose(options=options)).model
        generator = torch.Generator().manual_seed(0)
        audio, visual = (torch.randn(2, 1, 16, 16, generator=generator) for _ in range(2))
        results.append(model(audio, visual).logits)
    assert torch.equal(*results)
