"""Errors of samples that other processes read: one line for the user's, the traceback for ours."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import fork_python
from text_files import write

from scmrl_plugins.core.config.sections import ComponentSection
from scmrl_plugins.core.data.loading import Loader
from scmrl_plugins.core.data.workers import map_items
from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError, catalogue, register_file

Small = Callable[..., Assembly]


class Faulty(torch.utils.data.Dataset):
    """Samples, of which one cannot be read as ``fault`` says."""

    def __init__(self, fault: Callable[[], None]) -> None:
        self.fault, self.shapes = fault, False

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 5:
            self.fault()
        return {"label": np.zeros(index) if self.shapes else np.int64(index)}


def faulty(small: Small, fault: Callable[[], None], workers: int, dataset: str = "") -> Loader:
    config = small(sets=[f"train.workers={workers}"]).config
    if dataset:
        config = config.model_copy(update={"dataset": ComponentSection(name=dataset)})
    return Loader(Faulty(fault), config, [range(start, start + 2) for start in range(0, 10, 2)])


def refuse() -> None:
    raise BadFileError("a/b.wav", "no sound in it; remove it")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_is_reported_in_one_line(small: Small, workers: int) -> None:
    before = multiprocessing.active_children()
    batches = iter(faulty(small, refuse, workers))
    seen = [next(batches)["label"].tolist(), next(batches)["label"].tolist()]
    with pytest.raises(BadFileError) as caught:
        next(batches)
    assert str(caught.value) == "a/b.wav: no sound in it; remove it"
    assert seen == [[0, 1], [2, 3]]
    left = set(multiprocessing.active_children()) - set(before)
    assert not left, "while the error is held, whose frames hold the loader"


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[ModuleType]:
    """The module of a plugin file with the data set ``ours``, whose function ``fault`` fails as it is asked."""
    file = write(tmp_path / "faulty_plugin.py", PLUGIN)
    register_file(file)
    yield sys.modules["scmrl_inline_faulty_plugin"]
    catalogue().remove("faulty_plugin")


PLUGIN = """
from scmrl_plugins import hookimpl

class Ours: pass

def fault(kind):
    if kind == "shape":
        return None
    raise {"error": ValueError("boom"), "exit": SystemExit(3)}[kind]

@hookimpl
def scmrl_register(register):
    register("dataset", "ours", f"{__name__}:Ours", "Ours.")
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("kind", "message"), [("error", "ValueError: boom"), ("exit", "SystemExit: 3")])
def test_an_error_of_a_plugin_names_its_data_set(
    small: Small, plugin: ModuleType, kind: str, message: str, workers: int
) -> None:
    loader = faulty(small, functools.partial(plugin.fault, kind), workers, dataset="ours")
    with pytest.raises(
        UserError, match=rf"^dataset 'ours' of plugin 'faulty_plugin' \(inline\) failed in .*: {message}; repair"
    ):
        list(loader)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_a_plugin_that_do_not_fit_together_name_its_data_set(
    small: Small, plugin: ModuleType, workers: int
) -> None:
    loader = faulty(small, functools.partial(plugin.fault, "shape"), workers, dataset="ours")
    loader.dataset.shapes = True
    with pytest.raises(
        UserError, match=r"^dataset 'ours' of plugin 'faulty_plugin' \(inline\): its samples do not fit together"
    ):
        list(loader)


@pytest.mark.slow
def test_an_error_of_ours_keeps_its_traceback(small: Small) -> None:
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(faulty(small, lambda: 1 // 0, 1))  # type: ignore[arg-type,return-value]


DIES = """
import os
from scmrl_plugins.cli.common.errors import explain
from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.data.loading import Loader
from scmrl_plugins.registry import UserError

class Dying:
    def __getitem__(self, index):
        os.kill(os.getpid(), 9)

try:
    list(Loader(Dying(), compose(sets=["train.workers=1"]), [[0], [1]]))
except (RuntimeError, UserError) as error:
    print(explain(error) or error)
"""


@pytest.mark.slow
def test_a_process_that_dies_is_one_line() -> None:
    # In a process of its own, as torch raises the error wherever the main thread happens to be.
    done = fork_python(DIES)
    assert "a data loading process died: DataLoader worker (pid" in done.out, done
    assert len(done.out.splitlines()) == 1
    assert "reduce the number of workers" in done.out


@pytest.mark.parametrize("workers", [0, 2])
def test_items_keep_their_order(workers: int) -> None:
    source = catalogue().get("dataset", "av-digits")
    assert list(map_items(abs, range(-9, 0), workers, source)) == list(range(9, 0, -1))
    assert list(map_items(abs, [], workers, source)) == []


def test_garbage_is_collected_before_processes_are_forked() -> None:
    """What is left of a decoded frame holds threads, for which a forked process would wait forever."""
    collected: list[int] = []

    class Frame:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            collected.append(os.getpid())

    source = catalogue().get("dataset", "av-digits")
    gc.disable()
    try:
        Frame()
        assert list(map_items(abs, [-1], 1, source)) == [1]
    finally:
        gc.enable()
    assert collected == [os.getpid()]
