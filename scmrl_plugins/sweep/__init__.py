"""Sweeps: many settings of one configuration, trained and ranked."""
