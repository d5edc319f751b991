"""Batches: their order, the shares of several processes, and what training draws for each sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from blob_data import SIZES, Blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scmrl_plugins.core.data.loading import Draw, EpochSampler, collate, evaluation_loader, training_loader
from scmrl_plugins.core.data.prepare import load_splits, prepare
from scmrl_plugins.core.model.assembly import Assembly
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
    assert sorted(draw.sample for draw in order) == list(range(length))
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
    complete = [batch["audio"] for batch in evaluation_loader(split, parts.config)]
    loaders = [evaluation_loader(split, parts.config, Processes(rank, 3)) for rank in range(3)]
    shares = [[batch["audio"] for batch in loader] for loader in loaders]
    assert [len(share) for share in shares] == [2, 2, 1]
    for place, batch in enumerate(complete):
        assert torch.equal(shares[place % 3][place // 3], batch)


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = EpochSampler(100, 100, seed)
        sampler.epoch = epoch
        orders.append(tuple(map(tuple, sampler)))
    assert len(set(orders)) == 3


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_what_training_draws_follows_from_seed_epoch_and_sample(
    small: Small, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def inputs(blobs: Blobs, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        import torch

        return {name: array + (torch.rand(1).numpy() if training else 0) for name, array in stored.items()}

    monkeypatch.setattr(Blobs, "inputs", inputs, raising=False)

    def drawn(seed: int, epoch: int, batch_size: int = 16) -> dict[bytes, Any]:
        parts = small(sets=[f"train.seed={seed}", f"train.batch_size={batch_size}", f"train.workers={workers}"])
        split = prepare(parts.dataset, parts.config).splits["train"]
        loader, sampler = training_loader([split], parts.config)
        sampler.epoch = epoch
        batch = collate([sample for b in loader for sample in map(dict, _samples(b))])
        order = batch["label"].argsort(stable=True)
        return {name: np.sort(column[order].numpy().ravel()) for name, column in batch.items()}

    first = drawn(1, 0)
    assert _same(first, drawn(1, 0))
    assert _same(first, drawn(1, 0, batch_size=5))
    assert not _same(first, drawn(1, 1))
    assert not _same(first, drawn(2, 0))


def _samples(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{name: column[i].numpy() for name, column in batch.items()} for i in range(len(batch["label"]))]


def _same(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    return all(np.array_equal(column, other[name]) for name, column in one.items())


def test_drawing_leaves_the_generator_alone(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    parts = small()
    loader, sampler = training_loader([prepare(parts.dataset, parts.config).splits["train"]], parts.config)
    before = torch.get_rng_state()
    loader.dataset[next(iter(sampler))[0]]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_input_for_a_missing_modality_is_computed_once(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def blank(blobs: Blobs) -> Mapping[str, np.ndarray]:
        computed.append(blobs)
        return {name: np.full((channels, 1, 1), -7, np.float32) for name, channels in blobs.channels.items()}

    monkeypatch.setattr(Blobs, "blank", property(blank), raising=False)
    parts = small(sets=["data.modality_dropout.audio=1"])
    split = prepare(parts.dataset, parts.config).splits["train"]
    loader, _ = training_loader([split], parts.config)
    batch = collate([loader.dataset[Draw(0, index)] for index in range(8)])
    assert (batch["audio"] == -7).all()
    assert len(computed) == 1
