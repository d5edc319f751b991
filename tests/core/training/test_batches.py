"""The batches of every step: what is left of an epoch, their sizes, and the names of their samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from blob_data import SIZES

from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.parallel.processes import Processes
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.training.batches import Steps

Small = Callable[..., Assembly]


def steps(small: Small, batch: int, accumulate: int, processes: Processes | None = None) -> Steps:
    config = small(sets=[f"train.batch_size={batch}", f"train.accumulate={accumulate}"])
    split = load_splits(config.dataset, config.config)["train"]
    return Steps([split], config.config, processes or Processes())


@pytest.mark.parametrize(("batch", "accumulate"), [(16, 1), (9, 2), (5, 3), (48, 1), (50, 1)])
def test_sizes_are_those_of_the_batches(small: Small, batch: int, accumulate: int) -> None:
    made, state = steps(small, batch, accumulate), TrainingState()
    total = 0
    for batches in made.remaining(state):
        sizes = made.sizes(state)
        assert [len(one["label"]) for one in batches] == sizes
        total += sum(sizes)
        state.step += 1
    assert state.step == made.per_epoch == made.done(state)
    assert total == SIZES["train"]
    assert made.done(TrainingState(epoch=2, step=1)) == 2 * made.per_epoch + 1


def test_the_rest_of_an_epoch_is_its_end(small: Small) -> None:
    made = steps(small, 10, 2)
    labels = [[one["label"].tolist() for one in step] for step in made.remaining(TrainingState(epoch=1))]
    again = [[one["label"].tolist() for one in step] for step in made.remaining(TrainingState(epoch=1, step=2))]
    assert again == labels[2:]


def test_sizes_count_the_samples_of_all_processes(small: Small) -> None:
    shares = [steps(small, 9, 2, Processes(rank, 2)) for rank in range(2)]
    state = TrainingState()
    assert [made.sizes(state) for made in shares] == [[9, 9]] * 2
    both = [next(made.remaining(state)) for made in shares]
    assert [[len(one["label"]) for one in step] for step in both] == [[5, 5], [4, 4]]


def test_a_step_is_described_by_its_first_samples(small: Small) -> None:
    made = steps(small, 20, 1)
    assert made.describe(TrainingState(epoch=1, step=2)).startswith("epoch 2, step 3 (samples train-")
    assert made.describe(TrainingState(step=2)).endswith(" and 5 more)")


@pytest.mark.parametrize(
    ("batch", "count", "single"),
    [(47, 1, True), (1, 1, True), (48, 1, False), (50, 1, False), (46, 1, False), (46, 2, True), (45, 2, True)],
)
def test_a_batch_of_a_single_sample_is_found(small: Small, batch: int, count: int, single: bool) -> None:
    assert bool(steps(small, batch, 1, Processes(0, count)).single()) == single
