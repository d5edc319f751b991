"""Errors of samples that other processes read: one line for the user's, the traceback for ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import fork_python

from scmrl_plugins.core.data.loading import Loader
from scmrl_plugins.core.data.workers import map_items
from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.core.model.assembly import Assembly

Small = Callable[..., Assembly]


class Faulty(torch.utils.data.Dataset):
    """Samples, of which one cannot be read as ``fault`` says."""

    def __init__(self, fault: Callable[[], None]) -> None:
        self.fault = fault

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 5:
            self.fault()
        return {"label": np.int64(index)}


def faulty(small: Small, fault: Callable[[], None], workers: int) -> Loader:
    config = small(sets=[f"train.workers={workers}"]).config
    return Loader(Faulty(fault), config, [range(start, start + 2) for start in range(0, 10, 2)])


def refuse() -> None:
    raise BadFileError("a/b.wav", "no sound in it; remove it")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_is_reported_in_one_line(small: Small, workers: int) -> None:
    batches = iter(faulty(small, refuse, workers))
    seen = [next(batches)["label"].tolist(), next(batches)["label"].tolist()]
    with pytest.raises(BadFileError) as caught:
        next(batches)
    assert str(caught.value) == "a/b.wav: no sound in it; remove it"
    assert seen == [[0, 1], [2, 3]]


@pytest.mark.slow
def test_an_error_of_ours_keeps_its_traceback(small: Small) -> None:
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(faulty(small, lambda: 1 // 0, 1))  # type: ignore[arg-type,return-value]


DIES = """
import os
from scmrl_plugins.cli.common.errors import explain
from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.data.loading import Loader

class Dying:
    def __getitem__(self, index):
        os.kill(os.getpid(), 9)

try:
    list(Loader(Dying(), compose(sets=["train.workers=1"]), [[0], [1]]))
except RuntimeError as error:
    print(explain(error))
"""


@pytest.mark.slow
def test_a_process_that_dies_is_one_line() -> None:
    # In a process of its own, as torch raises the error wherever the main thread happens to be.
    done = fork_python(DIES)
    assert done.out.startswith("a data loading process died: DataLoader worker (pid"), done
    assert len(done.out.splitlines()) == 1
    assert "reduce train.workers" in done.out


@pytest.mark.parametrize("workers", [0, 2])
def test_items_keep_their_order(workers: int) -> None:
    assert list(map_items(abs, range(-9, 0), workers)) == list(range(9, 0, -1))
    assert list(map_items(abs, [], workers)) == []
