"""Benchmarks of accuracy, speed and data loading."""
