"""The published model: golden numbers, weights that do not fit, and the two orders of temporal attention."""

from __future__ import annotations

import pytest
import torch
from golden_cases import CASES, NEURONS, Golden, check_every_number, close
from torch import Tensor

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.reference import build_from_reference, reference_parameters
from scmrl_plugins.registry import UserError, catalogue

pytestmark = pytest.mark.numerical


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_golden_number(golden: Golden, neuron: str) -> None:
    model = golden.model(NEURONS[neuron])
    expected_type = catalogue().get("neuron", (NEURONS[neuron] or {"name": "lif"})["name"]).load()
    assert model.neuron_type is expected_type
    check_every_number(golden, model)


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


def test_a_checkpoint_of_parallel_training_is_taken() -> None:
    golden = Golden("late_add")
    state = golden.group("state/")
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    ours = reference_parameters(build_from_reference(golden.config, wrapped))
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.items())


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
    with pytest.raises(UserError, match="'Channel' is not supported; choose from Spatial, Temporal"):
        build_from_reference(golden.config | {"attn_method": "Channel"}, state)
    with pytest.raises(UserError, match=r"scale 0\.5 is not supported"):
        build_from_reference(golden.config | {"scale": 0.5}, state)


def test_a_model_of_another_kind_has_no_published_names() -> None:
    model = assembly.assemble(layers.compose(sets=["backbone.depth=1"])).model
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
        model = assembly.assemble(layers.compose(options=options)).model
        generator = torch.Generator().manual_seed(0)
        audio, visual = (torch.randn(2, 1, 16, 16, generator=generator) for _ in range(2))
        results.append(model(audio, visual).logits)
    torch.testing.assert_close(*results)
