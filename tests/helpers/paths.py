"""Where the tests find things."""

from __future__ import annotations

from pathlib import Path

HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]
"""The checkout."""
REAL = ROOT.parent / "shared" / "data"
"""Recordings that only some machines have; tests that read them skip elsewhere."""
