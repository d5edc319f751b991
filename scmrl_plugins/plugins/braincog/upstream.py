"""BrainCog's node and surrogate modules, without the rest of ``braincog.base``.

Importing ``braincog.base`` imports every subpackage, which takes ten seconds and overwrites timm's resnet entries.
The two modules depend on torch alone. They are imported under an empty package of that name, which is removed
afterwards: a later ``import braincog.base`` by a user runs in full and finds the same classes.
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
        empty = ModuleType(_BASE)
        empty.__path__ = [f"{folder}/base" for folder in package.submodule_search_locations]
        sys.modules[_BASE] = empty
        try:
            return importlib.import_module(full)
        finally:
            del sys.modules[_BASE]


surrogate = _import("strategy.surrogate")
node = _import("node.node")
