from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scmrl_plugins.core.model.assembly import Assembly


@pytest.fixture
def small(small: Callable[..., Assembly]) -> Callable[..., Assembly]:
    """The experiment with late fusion where a test does not name one: half the cost of the default."""

    def make(sets: list[str] | None = None, **sections: Any) -> Assembly:
        return small(sets, **{"fusion": {"name": "late"}, **sections})

    return make
