"""``python -m scmrl_plugins.registry.fresh PLUGIN``: register one plugin in a fresh process.

Exits with ``IMPORTS_TORCH`` if that imports torch, and with 0 if it does not.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from scmrl_plugins.registry.discovery import discover
from scmrl_plugins.registry.hookspecs import GROUP

IMPORTS_TORCH = 3

if __name__ == "__main__":
    discover(entry_points(group=GROUP, name=sys.argv[1]))
    sys.exit(IMPORTS_TORCH if "torch" in sys.modules else 0)
