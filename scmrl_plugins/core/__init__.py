"""The work itself: interfaces, configuration, assembly, the model, training, evaluation, measuring."""
