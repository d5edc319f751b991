"""Measurements of a model: operations, energy, firing rates, and what its layers do on a batch."""

from scmrl_plugins.core.measure.recording import Recording, record

__all__ = ["Recording", "record"]
