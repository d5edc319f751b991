"""What all tests share.

How the last bit of a number rounds depends on the processor and on the number's position in its vectors. Spikes,
integers, copies, draws under one seed, and one computation made twice on the same layout are compared to the bit;
where the order of operations, the shape or the layout differs, numbers are compared within a tolerance.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from capabilities import unprivileged
from plugin_site import PluginSite

from scmrl_plugins.registry import catalogue

if TYPE_CHECKING:
    from scmrl_plugins.core.model.assembly import Assembly

# As many processes as cores run the tests; torch, which reads this when it is imported, need not fill them too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiling a model's kernels takes far longer than the few steps of a test; tests of compilation ask for it.
os.environ.setdefault("SCMRL_COMPILE", "never")

# The libraries are a million objects that stay: looking through them again and again takes a tenth of the time.
gc.set_threshold(20_000, 50, 100)


def pytest_collection_finish() -> None:
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that no process is left with one when the others are done.

    Workflows come before all, then what is compiled, so that one process alone imports the compiler.
    """
    first = ("tests", "sweep", "testing", "kernels", "model")

    def order(item: pytest.Item) -> tuple[bool, int]:
        folder = item.path.parent.name
        return item.get_closest_marker("slow") is None, first.index(folder) if folder in first else len(first)

    items.sort(key=order)


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that all processes of a session share, so that a data set is built once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def obeying_modes() -> Iterator[None]:
    """Files whose modes forbid it are neither read nor written, whoever runs the tests."""
    with unprivileged() as possible:
        if not possible:
            pytest.skip("this user may read and write everything")
        yield


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginSite]:
    """A place for third-party plugins that this process finds."""
    place = PluginSite(tmp_path / "site")
    monkeypatch.syspath_prepend(place.folder)
    catalogue.cache_clear()
    yield place
    catalogue.cache_clear()
    place.forget()


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """``scmrl train`` in this process draws no report, which takes as long as training a small model."""
    monkeypatch.setattr("scmrl_plugins.explain.report.write", lambda _run: None)


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The data set ``blobs``, in memory, in the catalogue, and a cache that belongs to the test."""
    from blob_data import ENTRY

    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(blobs: None) -> Callable[..., Assembly]:
    """``small(fusion={"name": "late"}, sets=[...])``: an experiment of a few thousand operations."""
    from scmrl_plugins.core.config import layers
    from scmrl_plugins.core.model import assembly

    def make(sets: list[str] | None = None, **sections: Any) -> Assembly:
        layer = layers.Layer("the test", {"dataset": {"name": "blobs"}})
        return assembly.assemble(layers.compose(layers=[layer], options=sections, sets=sets or []))

    return make
