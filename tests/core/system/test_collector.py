"""The garbage collector around imports."""

from __future__ import annotations

import gc
import sys
import weakref
from types import ModuleType

import pytest

from scmrl_plugins.core.system import collector


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_pauses_and_is_as_it_was_afterwards(enabled: bool) -> None:
    try:
        (gc.enable if enabled else gc.disable)()
        with collector.paused():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(ImportError), collector.paused():
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_only_imports_exempt_objects_from_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        pass

    def garbage() -> weakref.ref[Cycle]:
        cycle = Cycle()
        cycle.cycle = cycle  # type: ignore[attr-defined]
        return weakref.ref(cycle)

    with collector.paused():
        left = garbage()
    gc.collect()
    assert left() is None
    try:
        with collector.paused():
            monkeypatch.setitem(sys.modules, "scmrl_imported_here", ModuleType("scmrl_imported_here"))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
