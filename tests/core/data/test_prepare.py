"""Batches, noise, and figures of a split."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from blob_data import SIZES, Blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from torch import Tensor, nn

from scmrl_plugins.core.data.prepare import (
    Draw,
    EpochSampler,
    Loader,
    collate,
    evaluation_loader,
    load_splits,
    training_loader,
)
from scmrl_plugins.core.evaluation.disturbance import Disturbance, add_noise, occlude
from scmrl_plugins.core.evaluation.evaluate import evaluate
from scmrl_plugins.core.interfaces import BadFileError, ModelOutput
from scmrl_plugins.core.model.assembly import Assembly, Objective
from scmrl_plugins.core.parallel.processes import Processes
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_each_epoch_is_a_permutation(length: int, size: int, seed: int, epoch: int) -> None:
    sampler, again = EpochSampler(length, size, seed), EpochSampler(length, size, seed)
    sampler.epoch = again.epoch = epoch
    batches = list(sampler)
    order = [draw for batch in batches for draw in batch]
    assert sorted(draw.place for draw in order) == list(range(length))
    assert {draw.epoch for draw in order} <= {epoch}
    assert len(sampler) == len(batches)
    assert all(len(batch) == size for batch in batches[:-1])
    np.random.default_rng().random()
    assert list(again) == list(sampler) == batches


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 5), st.data())
def test_processes_share_the_batches_of_one(length: int, size: int, count: int, data: st.DataObject) -> None:
    """Whatever was trained on before: side by side, the shares of all processes are the batch of one."""
    start = data.draw(st.integers(0, length))

    def batches(processes: Processes) -> list[list[Draw]]:
        sampler = EpochSampler(length, size, 7, processes)
        sampler.start = start
        return list(sampler)

    shares = [batches(Processes(rank, count)) for rank in range(count)]
    together = [[draw for part in parts for draw in part] for parts in zip(*shares, strict=True)]
    assert together == batches(Processes())
    for parts in zip(*shares, strict=True):
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_every_process_needs_a_sample_of_each_batch(small: Small) -> None:
    parts = small(sets=["train.batch_size=47"])
    split = load_splits(parts.dataset, parts.config)["train"]
    with pytest.raises(UserError, match=r"leaves 1 of 48 samples .* each of 2 processes needs one"):
        training_loader([split], parts.config, Processes(0, 2))


def test_processes_evaluate_every_batch_once(small: Small) -> None:
    parts = small(sets=["train.batch_size=4"])
    split = load_splits(parts.dataset, parts.config)["test"]
    whole = [batch["audio"] for batch in evaluation_loader(split, parts.config)]
    loaders = [evaluation_loader(split, parts.config, Processes(rank, 3)) for rank in range(3)]
    shares = [[batch["audio"] for batch in loader] for loader in loaders]
    assert [len(share) for share in shares] == [2, 2, 1]
    for place, batch in enumerate(whole):
        assert torch.equal(shares[place % 3][place // 3], batch)


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = EpochSampler(100, 100, seed)
        sampler.epoch = epoch
        orders.append(tuple(map(tuple, sampler)))
    assert len(set(orders)) == 3


def test_splits_become_features(small: Small) -> None:
    parts = small()
    splits = load_splits(parts.dataset, parts.config)
    assert {name: len(split) for name, split in splits.items()} == SIZES
    row = splits["test"][4]
    assert row.keys() == {"audio", "visual", "label"}
    raw = parts.dataset.splits()["test"]
    expected = parts.dataset.transform(raw[4:5])
    assert np.array_equal(row["audio"], expected["audio"][0])
    assert np.array_equal(row["visual"], expected["visual"][0])
    assert row["label"] == raw[4]["label"]
    assert row["audio"].dtype == np.float32


def test_collate_makes_one_batch(small: Small) -> None:
    parts = small()
    split = load_splits(parts.dataset, parts.config)["train"]
    batch = collate([split[i] for i in (3, 1)])
    assert {name: tuple(x.shape) for name, x in batch.items()} == {
        "audio": (2, 1, 8, 8),
        "visual": (2, 2, 8, 8),
        "label": (2,),
    }
    assert batch["label"].dtype == torch.int64
    assert batch["audio"].dtype == torch.float32
    assert torch.equal(batch["audio"][0], torch.from_numpy(split[3]["audio"]))


def test_batches_are_the_same_with_workers(small: Small) -> None:
    batches: list[list[dict[str, Tensor]]] = []
    for workers in (0, 2):
        parts = small(sets=[f"train.workers={workers}"])
        splits = load_splits(parts.dataset, parts.config)
        loader, sampler = training_loader([splits["train"], splits["validation"]], parts.config)
        sampler.epoch = 1
        batches.append(list(loader))
    assert [len(batch["label"]) for batch in batches[0]] == [16, 16, 16, 15]
    for one, two in zip(*batches, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_epoch_holds_every_sample_of_the_splits_once(small: Small) -> None:
    parts = small()
    splits = load_splits(parts.dataset, parts.config)
    loader, sampler = training_loader([splits["train"], splits["validation"]], parts.config)
    rows = [row.numpy().tobytes() for batch in loader for row in batch["visual"]]
    expected = [
        splits[name][i]["visual"].tobytes() for name in ("train", "validation") for i in range(SIZES[name])
    ]
    assert Counter(rows) == Counter(expected)
    assert rows != expected
    sampler.epoch = 1
    assert [row.numpy().tobytes() for batch in loader for row in batch["visual"]] != rows


def test_evaluation_keeps_the_order_of_the_split(small: Small) -> None:
    parts = small()
    split = load_splits(parts.dataset, parts.config)["test"]
    labels = torch.cat([batch["label"] for batch in evaluation_loader(split, parts.config)])
    assert labels.tolist() == [i % 3 for i in range(SIZES["test"])]


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_an_empty_or_absent_split_is_named(small: Small, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = small()
    splits = parts.dataset.splits()
    for change in (None, splits[name].select([])):
        changed = {key: rows for key, rows in splits.items() if key != name}
        if change is not None:
            changed[name] = change
        monkeypatch.setattr(Blobs, "splits", lambda self, changed=changed: changed)
        with pytest.raises(UserError, match=f"'blobs' has no {name} samples"):
            load_splits(parts.dataset, parts.config)


# Noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [-10.0, 0.0, 5.0, 20.0])
def test_noise_has_the_ratio_asked_for(snr: float) -> None:
    x = torch.randn(3, 2, 80, 80, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1, 1) + 5
    noise = add_noise(x, snr, torch.Generator().manual_seed(1)) - x
    for sample in range(3):
        ratio = 10 * torch.log10(x[sample].var() / noise[sample].var())
        # 12,800 draws: the standard deviation of the estimate is 4.34 sqrt(2 / 12800) = 0.05 dB.
        assert ratio.item() == pytest.approx(snr, abs=0.3)
        assert abs(noise[sample].mean()) < 5 * noise[sample].std() / 12800**0.5
        # Gaussian: 95.4 % within two standard deviations.
        assert (noise[sample].abs() < 2 * noise[sample].std()).float().mean().item() == pytest.approx(
            0.954, abs=0.01
        )


def test_noise_follows_from_the_generator() -> None:
    x = torch.randn(2, 1, 8, 8)
    first, same, other = (add_noise(x, 3.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_noise_goes_to_the_modalities_asked_for() -> None:
    batch = {"audio": torch.randn(2, 1, 4, 4), "visual": torch.randn(2, 1, 4, 4), "label": torch.zeros(2)}
    given_inputs = Disturbance(noise={"visual": 0.0})(batch, torch.Generator())
    assert given_inputs.keys() == {"audio", "visual"}
    assert given_inputs["audio"] is batch["audio"]
    assert not torch.equal(given_inputs["visual"], batch["visual"])
    assert Disturbance()(batch, torch.Generator())["visual"] is batch["visual"]


def test_a_dropped_modality_is_zero_and_the_other_as_it_was() -> None:
    batch = {"audio": torch.randn(2, 1, 4, 4), "visual": torch.randn(2, 1, 4, 4)}
    left = Disturbance(dropped=("audio",), noise={"audio": 0.0})(batch, torch.Generator())
    assert not left["audio"].any()
    assert left["visual"] is batch["visual"]


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_occlusion_hides_one_square_of_its_share(share: float, height: int, width: int, events: bool) -> None:
    x = torch.rand((3, 4, 2, height, width) if events else (3, 2, height, width)) + 1
    hidden = occlude(x, share, torch.Generator().manual_seed(0))
    lowest = x.flatten(1).amin(1)
    for before, after, low in zip(x, hidden, lowest, strict=True):
        changed = (after == low).flatten(0, -3)
        covered = changed.all(0)
        rows, columns = covered.any(1).sum().item(), covered.any(0).sum().item()
        sides = (round(height * share**0.5), round(width * share**0.5))
        if min(sides) and height * width > 1:
            assert (rows, columns) == sides
            assert covered.sum() == rows * columns
        assert torch.equal(after[..., ~covered], before[..., ~covered])


def test_occlusion_follows_from_the_generator_and_differs_by_sample() -> None:
    x = torch.rand(16, 1, 8, 8)
    first, same, other = (occlude(x, 0.25, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len({tuple((row != plain).flatten().tolist()) for row, plain in zip(first, x, strict=True)}) > 4


def test_a_disturbance_says_what_it_is() -> None:
    told = Disturbance(noise={"audio": -5.0}, occlusion={"visual": 0.25}, dropped=("audio",))
    assert str(told) == "audio at -5 dB, 25% of visual hidden, no audio"
    assert str(Disturbance()) == ""


# Figures ----------------------------------------------------------------------------------------------


class Told(nn.Module):
    """Its logits are its audio: what it says is told by the test."""

    classes = ("a", "b", "c", "d")
    neuron_type = nn.Identity

    def __init__(self) -> None:
        super().__init__()
        self.neuron = nn.Identity()
        self.modes: list[bool] = []

    def forward(self, audio: Tensor, visual: Tensor | None = None) -> ModelOutput:
        self.modes.append(self.training)
        return ModelOutput(self.neuron(audio.flatten(1)))


class Mean(nn.Module):
    """A loss that tells its mode: smoothing counts a thousand."""

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.logits, target) + 1000.0 * self.training


def told(logits: Tensor, labels: Tensor, **options: Any) -> Any:
    model, objective = Told(), Objective(["mean"], [Mean()], [1.0])
    loader = [
        {"audio": x.view(-1, 4, 1, 1), "label": y} for x, y in zip(logits.split(5), labels.split(5), strict=True)
    ]
    model.train()
    objective.eval()
    result = evaluate(model, objective, loader, torch.device("cpu"), **options)
    assert model.training
    assert not objective.training
    assert not any(model.modes)
    return result


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 33), st.integers(0, 10_000))
def test_figures_agree_with_scikit_learn(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 4, generator=generator)
    labels = torch.randint(0, 4, (n,), generator=generator)
    result, predicted = told(logits, labels), logits.argmax(1)
    assert result.n == n
    assert result.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert result.confusion == confusion_matrix(labels, predicted, labels=range(4)).tolist()
    present = sorted(set(labels.tolist()))
    recalls = recall_score(labels, predicted, labels=present, average=None)
    assert result.per_class == pytest.approx(
        {Told.classes[i]: recall for i, recall in zip(present, recalls, strict=True)}
    )
    # The mean over samples, whatever the batches, and in evaluation mode.
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_noise_of_an_evaluation_follows_from_its_seed() -> None:
    logits, labels = torch.randn(40, 4), torch.randint(0, 4, (40,))
    clean = told(logits, labels)
    noisy, same, other = (
        told(logits, labels, disturbance=Disturbance(noise={"audio": -5.0}), seed=seed) for seed in (0, 0, 1)
    )
    assert noisy.as_dict() == same.as_dict()
    assert noisy.loss != other.loss
    assert noisy.loss != clean.loss
    assert (clean.noise, noisy.noise) == ({}, {"audio": -5.0})


def test_modes_come_back_after_an_error() -> None:
    model, objective = Told().train(), Objective(["mean"], [Mean()], [1.0]).train()
    with pytest.raises(KeyError):
        evaluate(model, objective, [{"audio": torch.zeros(1, 4, 1, 1)}], torch.device("cpu"))
    assert model.training
    assert objective.training


def test_evaluation_leaves_the_model_as_it_was_and_tells_its_firing(small: Small) -> None:
    parts = small()
    loader = evaluation_loader(load_splits(parts.dataset, parts.config)["test"], parts.config)
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    result = evaluate(parts.model, parts.loss, loader, torch.device("cpu"))
    assert all(torch.equal(before[name], tensor) for name, tensor in parts.model.state_dict().items())
    assert result.n == SIZES["test"]
    assert all(0 <= rate <= 1 for rate in result.firing_rates.values())
    assert "backbones.audio.patches.stages.0.neuron" in result.firing_rates
    assert result.per_class.keys() == {"one", "two", "three"}
    assert SimpleNamespace(**result.as_dict()).accuracy == result.accuracy


# Processes that read data -----------------------------------------------------------------------------


class Faulty(torch.utils.data.Dataset):
    """Samples, of which one cannot be read as ``fault`` says."""

    def __init__(self, fault: Callable[[], None]) -> None:
        self.fault = fault

    def __getitem__(self, place: int) -> dict[str, Any]:
        if place == 5:
            self.fault()
        return {"label": np.int64(place)}


def faulty(small: Small, fault: Callable[[], None], workers: int) -> Loader:
    config = small(sets=[f"train.workers={workers}"]).config
    return Loader(Faulty(fault), config, [range(start, start + 2) for start in range(0, 10, 2)])


def refuse() -> None:
    raise BadFileError("a/b.wav", "no sound in it; remove it")


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_wrong_with_a_sample_is_told_in_one_line(small: Small, workers: int) -> None:
    batches = iter(faulty(small, refuse, workers))
    seen = [next(batches)["label"].tolist(), next(batches)["label"].tolist()]
    with pytest.raises(BadFileError) as caught:
        next(batches)
    assert str(caught.value) == "a/b.wav: no sound in it; remove it"
    assert seen == [[0, 1], [2, 3]]


def test_an_error_that_is_nobodys_fault_keeps_its_traceback(small: Small) -> None:
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(faulty(small, lambda: 1 // 0, 1))  # type: ignore[arg-type,return-value]


DIES = """
import os
from scmrl_plugins.cli.common.errors import explain
from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.data.prepare import Loader

class Dying:
    def __getitem__(self, place):
        os.kill(os.getpid(), 9)

try:
    list(Loader(Dying(), compose(sets=["train.workers=1"]), [[0], [1]]))
except RuntimeError as error:
    print(explain(error))
"""


def test_a_process_that_dies_is_one_line() -> None:
    # In a process of its own, as torch raises the error wherever the main thread happens to be.
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("a data loading process died: DataLoader worker (pid"), done
    assert len(done.stdout.splitlines()) == 1
    assert "reduce train.workers" in done.stdout
