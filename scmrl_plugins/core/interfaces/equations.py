"""Equations of neurons, for formats that describe a network by them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IntegrateAndFire:
    """v[t] = v[t-1] + (x[t] - v[t-1]) / tau, s[t] = 1[v[t] >= threshold], then v[t] = 0 where it fired.

    Without a tau there is no leak: v[t] = v[t-1] + x[t].
    """

    tau: float | None
    """In time steps."""
    threshold: float
    fires_at_threshold: bool = True
    """False: it fires only above the threshold."""
