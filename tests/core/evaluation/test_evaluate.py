"""A model evaluated: its metrics are those of scikit-learn, and nothing of the model changes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from blob_data import SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scmrl_plugins.core.data.loading import evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import Evaluation, evaluate, first_inputs
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.core.model.assembly import Assembly, Objective
from scmrl_plugins.core.parallel.processes import Processes

Small = Callable[..., Assembly]


class Analogue(nn.Identity):
    tags = frozenset({"analogue"})


class Echo(nn.Module):
    """Its logits are its audio input."""

    classes = ("a", "b", "c", "d")
    config = SimpleNamespace(train=SimpleNamespace(precision="fp32"))
    neuron_type = Analogue
    modalities = ("audio",)

    def __init__(self) -> None:
        super().__init__()
        self.neuron = Analogue()
        self.modes: list[bool] = []

    def forward(self, audio: Tensor, visual: Tensor | None = None) -> ModelOutput:
        self.modes.append(self.training)
        return ModelOutput(self.neuron(audio.flatten(1)))


class Mean(nn.Module):
    """A loss that shows its mode: smoothing counts a thousand."""

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.logits, target) + 1000.0 * self.training


class Batches(list[dict[str, Tensor]]):
    """Batches as an ``evaluation_loader`` gives them."""

    dataset = SimpleNamespace(split=SimpleNamespace(blank={"audio": np.zeros((1, 1, 1))}, ids=[], groups={}))


def evaluate_logits(logits: Tensor, labels: Tensor, size: int = 5, **options: Any) -> Any:
    model, objective = Echo(), Objective(["mean"], [Mean()], [1.0])
    columns = (logits.view(-1, 1, 2, 2), labels, torch.arange(len(labels)))
    loader = Batches(
        {"audio": x, "label": y, "index": i} for x, y, i in zip(*(c.split(size) for c in columns), strict=True)
    )
    model.train()
    objective.eval()
    result = evaluate(model, objective, loader, torch.device("cpu"), **options)
    assert model.training
    assert not objective.training
    assert not any(model.modes)
    return result


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 33), st.integers(0, 10_000))
def test_figures_agree_with_scikit_learn(n: int, seed: int) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score  # seconds, so not above

    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 4, generator=generator)
    labels = torch.randint(0, 4, (n,), generator=generator)
    result, predicted = evaluate_logits(logits, labels), logits.argmax(1)
    assert result.n == n
    assert result.metrics["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert result.confusion == confusion_matrix(labels, predicted, labels=range(4)).tolist()
    assert result.metrics["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    present = sorted(set(labels.tolist()))
    recalls = recall_score(labels, predicted, labels=present, average=None)
    assert result.metrics["per_class"] == pytest.approx(
        {Echo.classes[i]: recall for i, recall in zip(present, recalls, strict=True)}
    )
    # The mean over samples, whatever the batches, and in evaluation mode.
    assert result.metrics["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_noise_of_an_evaluation_follows_from_its_seed() -> None:
    logits, labels = torch.randn(40, 4), torch.randint(0, 4, (40,))
    clean = evaluate_logits(logits, labels)
    noisy, same, other = (
        evaluate_logits(logits, labels, size, disturbance=Disturbance(noise={"audio": -5.0}), seed=seed)
        for seed, size in ((0, 5), (0, 7), (1, 5))
    )
    assert noisy.confusion == same.confusion
    assert noisy.metrics["loss"] == pytest.approx(same.metrics["loss"])
    assert noisy.metrics["loss"] != other.metrics["loss"]
    assert noisy.metrics["loss"] != clean.metrics["loss"]
    assert (clean.as_dict()["noise"], noisy.as_dict()["noise"]) == ({}, {"audio": -5.0})


def test_modes_come_back_after_an_error() -> None:
    model, objective = Echo().train(), Objective(["mean"], [Mean()], [1.0]).train()
    with pytest.raises(KeyError):
        evaluate(model, objective, Batches([{"audio": torch.zeros(1, 1, 2, 2)}]), torch.device("cpu"))
    assert model.training
    assert objective.training


def test_evaluation_leaves_the_model_as_it_was_and_measures_its_firing(small: Small) -> None:
    parts = small()
    loader = evaluation_loader(load_splits(parts.dataset, parts.config)["test"], parts.config)
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    result = evaluate(parts.model, parts.loss, loader, torch.device("cpu"))
    assert all(torch.equal(before[name], tensor) for name, tensor in parts.model.state_dict().items())
    assert result.n == SIZES["test"]
    assert all(0 <= rate <= 1 for rate in result.firing_rates.values())
    assert "backbones.audio.patches.stages.0.neuron" in result.firing_rates
    assert result.metrics["per_class"].keys() == {"one", "two", "three"}
    assert SimpleNamespace(**result.as_dict()).accuracy == result.metrics["accuracy"]


@pytest.mark.slow
def test_a_stochastic_encoder_draws_the_same_in_every_evaluation(small: Small) -> None:
    """And the generators keep their state."""
    parts = small(encoder={"name": "rate"}, sets=["train.batch_size=4"])
    split = load_splits(parts.dataset, parts.config, ["test"])["test"]
    first, again, other = (
        evaluate(parts.model, parts.loss, evaluation_loader(split, parts.config), torch.device("cpu"), seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.as_dict() == again.as_dict()
    assert first.metrics["loss"] != other.metrics["loss"]

    state = torch.get_rng_state()
    evaluate(parts.model, parts.loss, evaluation_loader(split, parts.config), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)


class Alone(Processes):
    """One of two processes, to which the other one adds nothing."""

    def sum(self, x: Tensor) -> Tensor:
        return x if x.dim() else torch.tensor(SIZES["test"])


@pytest.mark.parametrize("encoder", ["direct", "rate"])
def test_predictions_are_in_the_order_of_the_split(small: Small, encoder: str) -> None:
    """Of every number of processes, which evaluate noise and draws as one process does."""
    parts = small(encoder={"name": encoder}, sets=["train.batch_size=4"])
    split = load_splits(parts.dataset, parts.config, ["test"])["test"]
    noise, device = Disturbance(noise={"audio": 3.0}), torch.device("cpu")

    def predictions(processes: Processes) -> Predictions:
        loader = evaluation_loader(split, parts.config, processes)
        result = evaluate(parts.model, parts.loss, loader, device, disturbance=noise, processes=processes)
        return result.predictions

    one = predictions(Processes())
    assert one.ids == [f"test-{index}" for index in range(SIZES["test"])]
    assert one.targets.tolist() == [index % 3 for index in range(SIZES["test"])]
    shares = [predictions(Alone(rank, 2)).logits for rank in range(2)]
    assert torch.equal(shares[0] + shares[1], one.logits)
    assert [int(row.any()) for row in shares[1]] == [index // 4 % 2 for index in range(SIZES["test"])]


def test_an_interval_is_clustered_by_the_first_column() -> None:
    targets = torch.arange(40) % 2
    logits = torch.nn.functional.one_hot(torch.where(torch.arange(40) < 30, targets, 1 - targets), 2).float()
    groups = {"speaker": [f"s{index // 10}" for index in range(40)], "writer": ["w"] * 40}

    def described(groups: dict[str, list[str]]) -> dict[str, Any]:
        predictions = Predictions(targets, logits, torch.zeros(40), ["a", "b"], list(map(str, range(40))), groups)
        return Evaluation(predictions, {}).as_dict()

    clustered, plain = described(groups), described({})
    assert clustered["interval_method"] == "clustered by speaker: 4, design effect 13.3"
    assert plain["interval_method"] == "samples taken as independent"
    assert clustered["interval"][0] < plain["interval"][0] < 0.75 < plain["interval"][1] < clustered["interval"][1]
    single = described({"writer": groups["writer"]})
    assert (single["interval"], single["interval_method"]) == (None, "none: all samples are of one writer")


def test_the_measured_batch_is_the_one_evaluated_first(small: Small) -> None:
    """And an encoder that draws finds its generator as it would without."""
    parts = small()
    loader = evaluation_loader(load_splits(parts.dataset, parts.config, ["test"])["test"], parts.config)
    disturbance = Disturbance(noise={"audio": 3.0}, occlusion={"visual": 0.2})
    state = torch.get_rng_state()
    first = first_inputs(loader, torch.device("cpu"), disturbance=disturbance, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    given: list[dict[str, Tensor]] = []
    parts.model.register_forward_pre_hook(lambda _m, _args, kwargs: given.append(kwargs), with_kwargs=True)
    evaluate(parts.model, parts.loss, loader, torch.device("cpu"), disturbance=disturbance, seed=5)
    assert len(given) > 1
    assert given[0].keys() == first.keys()
    assert all(torch.equal(given[0][name], x) for name, x in first.items())
