from __future__ import annotations

from pathlib import Path

import pytest

SLOW = ("compiles", "saved_and_loaded", "renamed_plugin_is_explained")
"""Checks that take long; of the built-in components only ``lif`` goes through them in quick runs."""

QUICK = {"modulation": "ogm-ge", "backbone": "spikformer", "dataset": "av-folder"}
"""Of kinds whose checks take long, because they train, have many layers or write files, what quick runs check."""

EXACT = (
    "building_touches_no_file",
    "configuration_round_trip",
    "every_choice_runs",
    "file_is_refused",
    "imports_no_torch",
    "moves_to_another_device",
    "registers_without_problems",
    "renamed_plugin_is_explained",
    "tags_are_known",
    "unknown_setting_is_refused",
)
"""Checks that compare no numbers."""

COMPILED_NODES = ("LIFNode", "PLIFNode")
"""BrainCog's nodes run through one adapter: two of them, without and with a parameter, show that it compiles."""

RENAMED = "renamed_plugin_is_explained"
"""What the framework says of a component: for ``lif`` and the first built-in component of the other kinds."""

COMPILED_AS = {"fusion-cmrl_live": "fusion-cmrl"}
"""``cmrl_live`` is ``cmrl`` with other settings: the same code compiles."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    repeated = []
    renamed: set[str] = set()
    for item in items:
        name = item.name.removeprefix("test_a_built_in_conforms[").removesuffix("]")
        if name.endswith(SLOW) and not name.startswith("neuron-lif-"):
            item.add_marker(pytest.mark.slow)
        kind = name.partition("-")[0]
        if kind in QUICK and not name.startswith(f"{kind}-{QUICK[kind]}-"):
            item.add_marker(pytest.mark.slow)
        if item.name.startswith("test_a_built_in_conforms[") and not name.endswith(EXACT):
            item.add_marker(pytest.mark.numerical)
        if name.endswith("Node-compiles") and name.split("-")[1] not in COMPILED_NODES:
            repeated.append(item)
        if name.endswith("-compiles") and name.removesuffix("-compiles") in COMPILED_AS:
            repeated.append(item)
        if item.name.startswith("test_a_built_in_conforms[") and name.endswith(RENAMED):
            if kind in renamed or (kind == "neuron" and not name.startswith("neuron-lif-")):
                repeated.append(item)
            else:
                renamed.add(kind)
    for item in repeated:
        items.remove(item)


@pytest.fixture(autouse=True)
def surroundings(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    monkeypatch.delenv("SCMRL_DISABLE_PLUGINS", raising=False)
