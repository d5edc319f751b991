"""The generated pages in docs/ are those of the code, and every registered component is in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scmrl_plugins.registry import catalogue

ROOT = Path(__file__).parents[1]


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


def test_every_component_is_documented() -> None:
    page = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    for entry in catalogue().entries:
        if entry.plugin.builtin:
            assert f"### `{entry.name}` ({entry.plugin.name})" in page
