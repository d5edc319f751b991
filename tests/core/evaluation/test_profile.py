"""The profile of a model on a split: the same for any batches and order, and what it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from scmrl_plugins.core.data.loading import EvaluationData, Loader, evaluation_loader
from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.evaluation.profile import Profile, bounds, profile, verdicts
from scmrl_plugins.core.measure.counting import Layer, count_batches, total
from scmrl_plugins.core.measure.energy import MODELS
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import Assembly

Small = Callable[..., Assembly]
CPU = torch.device("cpu")
FIRES = "neuron.threshold=0.02"


def split_of(parts: Assembly) -> FeatureSplit:
    return prepare(parts.dataset, parts.config, ["test"]).splits["test"]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["direct", "rate"])
def test_neither_batches_nor_order_matter(small: Small, encoder: str) -> None:
    """Also for an encoder that draws at random, and for a split that is sorted by class."""
    parts = small(sets=[FIRES], fusion={"name": "late"}, encoder={"name": encoder})
    split = split_of(parts).subset(range(7))
    by_class = sorted(range(len(split)), key=lambda index: split.labels[index])
    found = profile(parts.model, Loader(EvaluationData(split), parts.config, [by_class[:4], by_class[4:]]), CPU)
    shuffled = torch.randperm(len(split), generator=torch.Generator().manual_seed(0)).tolist()
    batches = [shuffled[:1], shuffled[1:]]
    again = profile(parts.model, Loader(EvaluationData(split), parts.config, batches), CPU)
    assert again.layers == found.layers
    assert (again.n, again.accuracy) == (len(split), found.accuracy)


@pytest.mark.slow
def test_its_accuracy_is_that_of_the_evaluation_and_its_energy_adds_up(small: Small) -> None:
    parts = small(sets=[FIRES])
    loader = evaluation_loader(split_of(parts), parts.config)
    found = profile(parts.model, loader, CPU)
    assert found.accuracy == pytest.approx(evaluate(parts.model, parts.loss, loader, CPU).metrics["accuracy"])
    layers = found.by_layer()
    for model in MODELS:
        assert found.energy[model] == sum(layer["energy"][model] for layer in layers) > 0
    shown = found.as_dict()["total"]
    for name in ("parameters", "footprint", "dense", "effective", "macs", "acs", "membrane_updates", "attention"):
        assert shown[name] == sum(layer[name] for layer in layers), name


@pytest.mark.parametrize("alpha", [1, 1.5, 2])
def test_a_whole_alpha_keeps_the_mlp_on_accumulates(small: Small, alpha: float) -> None:
    """With 1.5 the tokens that the residual changes are graded, and only those: a' = a + 1.5 r, r in {0, 1}."""
    parts = small(sets=[FIRES], fusion={"name": "bilinear", "alpha": alpha})
    inputs = random_inputs(parts.model, CPU, batch=4)
    found = total(
        layer for layer in count_batches(parts.model, [inputs]) if layer.name.endswith("mlp.expand.conv")
    )
    assert found.acs > 0
    assert (found.macs > 0) is (alpha == 1.5)
    assert found.macs < found.effective


@pytest.mark.slow
def test_the_bound_is_the_dense_network_of_one_step(small: Small) -> None:
    """A temporal attention over one step has 1 / T^2 of its products, every other layer 1 / T."""
    parts = small(fusion={"name": "cmrl", "attention": "temporal", "align": False})
    ann, qnn = bounds(parts)
    assert (ann.kind, qnn.kind, qnn.bits, ann.bound, qnn.bound) == ("ann", "qnn", 2, True, True)
    assert ann.total.dense == ann.total.macs
    assert (ann.total.acs, ann.total.membrane_updates) == (0, 0)
    one = small(fusion={"name": "cmrl", "attention": "temporal", "align": False}, sets=["model.steps=1"])
    layers = count_batches(one.model, [random_inputs(one.model, CPU)])
    assert ann.total.dense == total(layers).dense
    assert qnn.energy["lemaire"] < ann.energy["lemaire"]
    assert bounds(small(neuron={"name": "relu"})) == []


def made(kind: str, macs: float, acs: float, **further: object) -> Profile:
    return Profile([Layer("one", macs=macs, acs=acs)], 1, 1.0, 4, kind, **further)  # type: ignore[arg-type]


def test_the_cheaper_network_is_named() -> None:
    snn = dataclasses.replace(made("snn", 0, 1000), layers=[Layer("one", acs=1000, activations=100, active=30)])
    ann, qnn = made("ann", 300, 0, name="twin"), made("qnn", 100, 0, bits=3)
    lines = verdicts(snn, [ann, qnn])
    assert lines["arithmetic"].startswith("the spiking network is cheaper: 0.9 nJ a sample against 1.38 nJ")
    assert lines["arithmetic_int8"].startswith("the QNN of 3 bits is cheaper: 0.03 nJ a sample against 0.023 nJ")
    assert "30.0%, above the threshold of 5.7% for 5 steps, the nearest to 4" in lines["threshold"]
    cheap = verdicts(snn, [made("ann", 100, 0, name="twin")])
    assert cheap["arithmetic"].startswith("the ANN twin is cheaper")
    assert "arithmetic_int8" not in cheap
    assert "threshold" not in verdicts(ann, [])
