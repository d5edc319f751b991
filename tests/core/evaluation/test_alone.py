"""What a modality says alone: the split of a read-out, or the other input blank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.alone import alone, method
from scmrl_plugins.core.evaluation.evaluate import Evaluation, evaluate
from scmrl_plugins.core.evaluation.metrics import rows
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.system import seeds

Small = Callable[..., Assembly]
CPU = torch.device("cpu")
SILENCE = {"audio": torch.zeros(1, 1, 1), "visual": torch.zeros(2, 1, 1)}


def predicted_alone(parts: Assembly, inputs: dict[str, Tensor]) -> tuple[Any, str]:
    return alone(parts.model.eval(), inputs, SILENCE)


def weights(parts: Assembly) -> None:
    """Weights of a head with a bias."""
    with torch.no_grad():
        for parameter in parts.model.readout.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("readout", ["add", "concat"])
def test_the_split_of_a_linear_read_out_sums_to_the_logits(small: Small, readout: str) -> None:
    parts = small(fusion={"name": "late"}, readout={"name": readout})
    weights(parts)
    inputs = random_inputs(parts.model, CPU, 4)
    logits, found = predicted_alone(parts, inputs)
    assert found == "split"
    with torch.no_grad():
        torch.testing.assert_close(logits["audio"] + logits["visual"], parts.model(**inputs).logits)
    inverted = {**inputs, "visual": 1 - inputs["visual"]}
    changed, _ = predicted_alone(parts, inverted)
    assert torch.equal(changed["audio"], logits["audio"])
    assert not torch.equal(changed["visual"], logits["visual"])


def test_an_expert_is_what_its_modality_says(small: Small) -> None:
    parts = small(fusion={"name": "cmrl"}, readout={"name": "experts"})
    inputs = random_inputs(parts.model, CPU, 4)
    logits, found = predicted_alone(parts, inputs)
    with torch.no_grad():
        heads = parts.model(**inputs).aux_logits
    assert found == "split"
    for name, x in heads.items():
        torch.testing.assert_close(logits[name], x)


@pytest.mark.parametrize("fusion", ["cmrl", "cmci"])
def test_without_a_split_the_other_input_is_blank(small: Small, fusion: str) -> None:
    parts = small(fusion={"name": fusion})
    inputs = random_inputs(parts.model, CPU, 4)
    logits, found = predicted_alone(parts, inputs)
    assert found == "blank"
    with torch.no_grad():
        expected = parts.model(inputs["audio"], torch.zeros_like(inputs["visual"])).logits
    assert torch.equal(logits["audio"], expected)


def test_a_model_of_one_modality_says_nothing_more(small: Small) -> None:
    parts = small(fusion={"name": "visual"})
    assert (method(parts.model), predicted_alone(parts, random_inputs(parts.model, CPU, 2))) == ("", ({}, ""))


def evaluated(parts: Assembly, *, blanked: bool = False) -> Evaluation:
    split = load_splits(parts.dataset, parts.config)["test"]
    loader = evaluation_loader(split, parts.config)
    return evaluate(parts.model, parts.loss, loader, CPU, blanked=blanked)


def test_an_evaluation_has_the_accuracy_of_each_modality_and_the_method(small: Small) -> None:
    late = small(fusion={"name": "late"})
    plain = evaluated(late)
    inputs = {name: torch.stack([torch.tensor(row[name]) for row in split_rows(late)]) for name in SILENCE}
    target = torch.tensor([row["label"] for row in split_rows(late)])
    logits, _ = predicted_alone(late, inputs)
    for name, x in logits.items():
        assert plain.metrics[f"{name}_alone"] == pytest.approx(float((x.argmax(1) == target).float().mean()))
    assert plain.as_dict()["alone_method"] == "split"
    shown = dict(rows(plain.as_dict()))
    assert shown["alone"] == "the read-out's share of the modality"
    assert shown["accuracy of audio alone"].endswith("%")

    cmrl = small()
    assert "audio_alone" not in evaluated(cmrl).as_dict()  # it would take two passes more
    found = evaluated(cmrl, blanked=True)
    assert found.as_dict()["alone_method"] == "blank"
    assert 0 <= found.metrics["visual_alone"] <= 1
    # Those passes do not count as the model's.
    assert found.firing_rates == evaluated(cmrl).firing_rates


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"readout": {"name": "experts"}, "fusion": {"name": "summary"}},
        {"encoder": {"name": "rate"}},  # draws
        {  # fuses between the stages
            "backbone": {"name": "qkformer"},
            "fusion": {"name": "cmqka", "scales": 2},
            "neuron": {"threshold": 0.1},
        },
    ],
)
def test_what_is_used_again_gives_the_same_to_the_last_bit(small: Small, sections: dict[str, Any]) -> None:
    parts = small(**sections)
    found = evaluated(parts, blanked=True).predictions.alone
    split = load_splits(parts.dataset, parts.config)["test"]
    expected: dict[str, list[Tensor]] = {"audio": [], "visual": []}
    parts.model.eval()
    batches = list(evaluation_loader(split, parts.config))
    assert len(batches) > 1
    for batch in batches:
        torch.manual_seed(seeds.mix(0, int(batch["index"][0])))
        for name, logits in alone(parts.model, {key: batch[key] for key in expected}, split.blank)[0].items():
            expected[name].append(logits)
    for name, logits in expected.items():
        assert torch.equal(found[name], torch.cat(logits))
        assert logits[0].unique(dim=0).shape[0] > 1


def split_rows(parts: Assembly) -> list[Any]:
    split = load_splits(parts.dataset, parts.config)["test"]
    return [split[index] for index in range(len(split))]
