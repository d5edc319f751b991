"""Run directories: configuration, environment, weights, metrics."""
