from __future__ import annotations

import pytest

from scmrl_plugins.core.system.memory import format_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "unknown"), (0, "0.0 MiB"), (2**19, "0.5 MiB"), (300 * 2**20, "300 MiB"), (3 * 2**29, "1.5 GiB")],
)
def test_bytes_are_formatted_in_binary_units(size: int | None, text: str) -> None:
    assert format_bytes(size) == text
