"""Trained models evaluated: metrics, disturbed inputs, predictions."""
