"""BrainCog's encoders, to compare with."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from scmrl_plugins.plugins.neurons.upstream import surrogate  # noqa: F401  the file below imports it


@pytest.fixture(scope="module")
def braincog() -> ModuleType:
    """BrainCog's encoders, by the path of their file: importing the package takes ten seconds."""
    found = importlib.util.find_spec("braincog")
    path = Path(found.submodule_search_locations[0]) / "base" / "encoder" / "encoder.py"
    spec = importlib.util.spec_from_file_location("braincogs_encoder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
