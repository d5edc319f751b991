from __future__ import annotations

from pathlib import Path

import pytest

SLOW = {
    *(
        f"backbone-{name}-{check}"
        for name in ("spikformer", "qkformer")
        for check in ("compiles", "every_choice_runs")
    ),
    *(f"fusion-{name}-compiles" for name in ("cmrl", "cmci", "cmqka", "sca", "audio", "visual")),
}
"""Checks of built-in components that take seconds."""

COMPILED_NODES = ("LIFNode", "PLIFNode")
"""BrainCog's nodes run through one adapter: two of them, without and with a parameter, show that it compiles."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    repeated = []
    for item in items:
        name = item.name.removeprefix("test_a_built_in_conforms[").removesuffix("]")
        if name in SLOW:
            item.add_marker(pytest.mark.slow)
        if name.endswith("Node-compiles") and name.split("-")[1] not in COMPILED_NODES:
            repeated.append(item)
    for item in repeated:
        items.remove(item)


@pytest.fixture(autouse=True)
def surroundings(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    monkeypatch.delenv("SCMRL_DISABLE_PLUGINS", raising=False)
