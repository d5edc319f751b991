"""Estimates of a training step, with known figures."""

from __future__ import annotations

from scmrl_plugins.core.training.estimate import Estimate, Trial

MEBI = 2**20


def known(free: int | None, *trials: tuple[int, float]) -> Estimate:
    """Of trials ``(batch, MiB)``, each of as many seconds as samples."""
    return Estimate([Trial(batch, float(batch), int(size * MEBI)) for batch, size in trials], free)
