"""BrainCog's own modules, without the rest of ``braincog.base``.

``braincog.base`` imports every subpackage on first use: ten seconds, and it overwrites timm's resnet entries.
The modules needed here depend on torch alone, so they are imported under a stand-in for the package, which is
taken away again: a user's own ``import braincog.base`` later runs in full and finds the same classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

_BASE = "braincog.base"
_lock = threading.Lock()


def _import(name: str) -> ModuleType:
    full = f"{_BASE}.{name}"
    with _lock:
        if full in sys.modules or _BASE in sys.modules:
            return importlib.import_module(full)
        package = importlib.util.find_spec("braincog")
        if package is None or not package.submodule_search_locations:
            raise ModuleNotFoundError("braincog is not installed: pip install braincog")
        stand_in = ModuleType(_BASE)
        stand_in.__path__ = [f"{place}/base" for place in package.submodule_search_locations]
        sys.modules[_BASE] = stand_in
        try:
            return importlib.import_module(full)
        finally:
            del sys.modules[_BASE]


surrogate = _import("strategy.surrogate")
node = _import("node.node")
