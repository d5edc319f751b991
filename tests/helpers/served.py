"""The limits of the servers that the tests start."""

from __future__ import annotations

from scmrl_plugins.serve.uploads import Limits

LIMITS = Limits(200_000, 4.0)
SECONDS = 3.0
WAITING = 4
