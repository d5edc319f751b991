"""Whatever a plugin hands to ``register``: it is taken or recorded, and the others are as they were."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scmrl_plugins.registry import GROUP, KINDS, discover, hookimpl

MODULE = "scmrl_of_any_strings"
OURS = [point for point in entry_points(group=GROUP) if point.dist and point.dist.name == "scmrl-plugins"]
BASELINE = discover(OURS)

anything = st.one_of(st.text(), st.none(), st.integers(), st.binary(), st.lists(st.text(), max_size=2))
likely = {
    "kind": st.one_of(st.sampled_from(KINDS), anything),
    "name": st.one_of(st.from_regex(r"[A-Za-z0-9][\w.-]{0,5}", fullmatch=True), st.just("cmrl"), anything),
    "target": st.one_of(st.just("m:C"), st.from_regex(r"\w+:\w+"), anything),
    "summary": st.one_of(st.just("one line"), anything),
}


@pytest.fixture(scope="module", autouse=True)
def plugin() -> Iterator[None]:
    """A module that registers what ``calls`` holds."""
    module = ModuleType(MODULE)
    module.calls = []  # type: ignore[attr-defined]

    @hookimpl
    def scmrl_register(register: Any) -> None:
        for call in module.calls:
            register(*call)

    module.scmrl_register = scmrl_register  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    yield
    del sys.modules[MODULE]


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(*likely.values()), max_size=4))
@example([("fusion", "cmrl", "m:C", "one line")])
@example([("fusion", "new", "m:C", "one line"), ("fusion", "new", "m:C", "one line")])
def test_all_is_taken_or_nothing(calls: list[tuple[Any, ...]]) -> None:
    sys.modules[MODULE].calls = calls  # type: ignore[attr-defined]
    found = discover([*OURS, EntryPoint("any", MODULE, GROUP)])
    theirs = [entry for entry in found.entries if entry.plugin.name == "any"]
    assert [entry for entry in found.entries if entry not in theirs] == BASELINE.entries
    if "any" in [plugin.name for plugin in found.plugins]:
        assert [(e.kind, e.name, e.target) for e in theirs] == [call[:3] for call in calls]
        for entry in theirs:
            assert found.get(entry.kind, entry.qualified) is entry
    else:
        assert theirs == []
        assert [broken.name for broken in found.broken] == ["any"]
        assert "\n" not in found.broken[0].error


@settings(deadline=None)
@given(name=st.text(), value=st.text())
@example(name="fusion", value=MODULE)
def test_any_entry_point_leaves_the_others(name: str, value: str) -> None:
    sys.modules[MODULE].calls = []  # type: ignore[attr-defined]
    try:
        point = EntryPoint(name, value, GROUP)
    except ValueError:
        return  # newer Pythons look at it themselves
    found = discover([point, *OURS])
    assert found.entries == BASELINE.entries
    assert len(found.plugins) + len(found.broken) == len(BASELINE.plugins) + 1
