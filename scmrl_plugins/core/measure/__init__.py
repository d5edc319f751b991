"""Measurements of a model: operations, energy, firing rates."""
