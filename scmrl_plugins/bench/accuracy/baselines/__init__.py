"""Baselines of a grid: answers without the training of a network.

A new one is a function in ``answers.py``, and its name in ``grid.Baseline.kind``.
"""
